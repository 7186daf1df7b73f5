"""How good an index is at finding: golden queries, BEIR folders, spans of text, and the measures of each."""
