"""Which cleaning rules these are: known to whoever plans a run, without the libraries that clean."""

# Part of a fingerprint: raise it whenever a rule changes what comes out, so that every document is cleaned again.
CLEANING_VERSION: int = 3
