"""Imports of real documents: one reader for each kind of source, one way to store them."""
