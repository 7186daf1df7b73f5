"""Where results are kept that any installation on this machine may use again, and that can be made anew."""

import os
from pathlib import Path


def user_cache(kind: str) -> Path:
    """Return the folder of one kind of results, below ``XDG_CACHE_HOME`` or ``~/.cache``; it may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rag-feature-pipeline" / kind
