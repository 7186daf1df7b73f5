"""Turns raw documents into cleaned ones, and commits them to the feature store."""
