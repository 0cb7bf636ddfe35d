"""The paper's tables and figures: from datasets to a page, its numbers and a picture."""
