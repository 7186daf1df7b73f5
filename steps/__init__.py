"""The work, one folder a stage: a thin ZenML step, and plain functions beside it."""
