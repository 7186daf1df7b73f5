"""Checks everything that can be wrong before any work."""
