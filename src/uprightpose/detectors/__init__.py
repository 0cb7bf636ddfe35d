"""Images -> score maps."""
