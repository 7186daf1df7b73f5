"""Training sets: which documents, in which split, in which format."""
