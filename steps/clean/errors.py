"""Why a text could not be cleaned."""


class UnparseableError(ValueError):
    """A document that the parser of its format refuses, or that it had better not be given; the message says why."""
