"""Reads what is new, changed or gone from the warehouse."""
