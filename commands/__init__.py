"""The commands of `feature-pipeline`, one module for each concern; `cli` puts them together."""
