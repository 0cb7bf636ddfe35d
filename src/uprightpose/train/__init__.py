"""Recipes, stages and the training loop; the only place that changes weights."""
