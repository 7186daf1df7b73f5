"""Errors of imports."""

from feature_store.errors import TerminalError


class ImportSourceError(TerminalError):
    """The source of an import cannot be read."""
