"""Decides whether a newly built collection may serve."""
