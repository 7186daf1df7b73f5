"""A feature store filled by commits of rows, without a warehouse and without cleaning."""

import json
import uuid
from itertools import count

import pyarrow as pa

from feature_store import schema
from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.ids import text_hash
from feature_store.parts import write_part
from feature_store.store import open_feature_store

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda"]


def id_of(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, str(name)))


def text_of(seed, words=60):
    """Return a text of its own for each seed: no two share five words in a row."""
    return " ".join(f"{WORDS[place % len(WORDS)]}{seed}x{place}" for place in range(words))


def edited(text, *places):
    """Return a text with some words replaced, each in five word sequences at most."""
    words = text.split()
    for place in places:
        words[place] = f"edited{place}"
    return " ".join(words)


def row(name, text, number, *, added_in=None, **fields):
    metadata = json.dumps(fields.pop("metadata", {}))
    content = {"title": None, "url": None, "author": None, "published_at": None, "language": "en", **fields}
    return {
        "document_id": id_of(name),
        "category": "notes",
        "source_id": str(name),
        "source_hash": text_hash(text),
        "state": "live",
        "text": text,
        "text_format": "text",
        "updated_at": None,
        "external_id": None,
        "metadata": metadata,
        "text_hash": text_hash(text),
        "content_hash": text_hash(json.dumps([text, metadata, sorted(content.items())], default=str)),
        "duplicate_of": None,
        "characters": len(text),
        "added_in": added_in or number,
        "changed_in": number,
        **content,
    }


class Corpus:
    """A store, and what it holds: name to text."""

    def __init__(self, folder):
        self.folder = folder
        self.store = open_feature_store(folder / "feature_store")
        self._parts = count()

    def commit(self, documents=(), removed=(), **fields):
        """Make a version: add or change documents (name to text, or to a text and fields), remove others."""
        number = self.store.next_number()
        given = dict(documents)
        known = self.store.known(id_of(name) for name in given)
        rows = []
        for name, value in given.items():
            text, own = value if isinstance(value, tuple) else (value, {})
            before = known.get(id_of(name))
            rows.append(row(name, text, number, added_in=before.added_in if before else None, **{**fields, **own}))
        parts = {"documents": [], "removed": []}
        if rows:
            parts["documents"] = [self._part(pa.Table.from_pylist(rows, schema=schema.DOCUMENTS))]
        if removed:
            gone = [{"document_id": id_of(name), "category": "notes"} for name in removed]
            parts["removed"] = [self._part(pa.Table.from_pylist(gone, schema=schema.DOCUMENT_IDS))]
        return commit(self.store, ChangeSet(**parts), RunDescription(f"run-{number}", "config"))

    def _part(self, table):
        return write_part(self.folder / "parts", "rows", next(self._parts), table)
