"""The warehouse of raw documents: the connection to it, and imports into it."""
