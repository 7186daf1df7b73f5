"""The journal of an erasure under way: while it is there, no run begins and nothing is pinned or pruned."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from feature_store.errors import TerminalError
from feature_store.files import write_json_atomically


class ErasedDocument(BaseModel):
    """What has to be known of a document to find it in the warehouse and in files; None where nobody knows it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    category: str | None = None
    source_id: str | None = None


class RewrittenTables(BaseModel):
    """The complete tables of the next generation: the Lance versions of documents and rejects by version number."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    generation: int
    documents: dict[int, int]
    rejects: dict[int, int]


class Erasure(BaseModel):
    """The journal of an erasure under way: removed with the last step, for it names what is erased."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    started_at: datetime
    documents: dict[str, ErasedDocument]
    from_warehouse: bool = False
    rewritten: RewrittenTables | None = None
    counts: dict[str, int] = Field(default_factory=dict)


def read_erasure(folder: Path) -> Erasure | None:
    """Return the erasure that is under way in the feature store of ``folder``, or None."""
    path = erasure_path(folder)
    return Erasure.model_validate_json(path.read_bytes()) if path.exists() else None


def save_erasure(folder: Path, erasure: Erasure) -> None:
    """Write down how far an erasure is."""
    write_json_atomically(erasure_path(folder), erasure.model_dump(mode="json"))


def finish_erasure(folder: Path) -> None:
    """Remove the journal."""
    erasure_path(folder).unlink(missing_ok=True)


def erasure_path(folder: Path) -> Path:
    """Return where the journal is while an erasure is under way."""
    return folder / "erasure.json"


def require_no_erasure(folder: Path) -> None:
    """Check that no erasure waits to be resumed.

    Raises:
        TerminalError: if one does: documents may be gone in one place and still be in another.
    """
    erasure = read_erasure(folder)
    if erasure is not None:
        raise TerminalError(
            f"The erasure of {len(erasure.documents):,} documents, begun at {erasure.started_at:%Y-%m-%d %H:%M} UTC, "
            "was interrupted.",
            "Complete it: feature-pipeline forget --resume",
        )
