"""Says how good an index is at finding, by judged queries."""
