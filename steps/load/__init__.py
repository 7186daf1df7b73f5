"""Brings a Qdrant collection to the newest version of the feature store."""
