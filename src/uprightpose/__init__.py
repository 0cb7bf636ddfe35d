"""Refine the joints of people who are not standing upright."""
