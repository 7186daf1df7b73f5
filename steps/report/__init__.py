"""Sums up a run and proves its invariants."""
