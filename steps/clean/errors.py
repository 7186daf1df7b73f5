"""Why a text could not be cleaned."""


class UnparseableError(ValueError):
    """A document that the parser of its format refuses; the message is the parser's."""
