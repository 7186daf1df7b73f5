"""The sentence window: each result with the chunks around it, merged where they meet."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qdrant_client import QdrantClient, models

from feature_store.index_config import SmallToBigConfig
from feature_store.points import PARENT_ROLE
from inference.candidates import asking
from inference.merging import Passage, Piece
from inference.snapshot import Snapshot

_NEEDED = ["document_id", "start", "end", "text", "size", "position"]
_Place = tuple[str, int, int]


def with_neighbours(
    client: QdrantClient, snapshot: Snapshot, rankings: Sequence[Sequence[Passage]], neighbours: int
) -> list[list[Passage]]:
    """Return each passage of one chunk (or parent) with the ``neighbours`` before and behind it.

    One request for all rankings.
    """
    places = dict.fromkeys(_place(passage) for passages in rankings for passage in passages)
    if not places:
        return [[] for _ in rankings]
    conditions: list[models.Condition] = [_around(snapshot, place, neighbours) for place in places]
    records, _ = asking()(
        client.scroll,
        snapshot.collection,
        scroll_filter=models.Filter(should=conditions),
        limit=len(places) * (2 * neighbours + 1),
        with_payload=_NEEDED,
    )
    known: dict[_Place, Piece] = {}
    for record in records:
        payload = record.payload or {}
        piece = Piece.of(payload)
        known[payload["document_id"], piece.size, piece.position] = piece
    return [
        [replace(passage, pieces=_window(passage, known, neighbours)) for passage in passages] for passages in rankings
    ]


def _place(passage: Passage) -> _Place:
    (own,) = passage.pieces
    return passage.best.document_id, own.size, own.position


def _around(snapshot: Snapshot, place: _Place, neighbours: int) -> models.Filter:
    document, size, position = place
    conditions: list[models.Condition] = [
        models.FieldCondition(key="document_id", match=models.MatchValue(value=document)),
        models.FieldCondition(key="position", range=models.Range(gte=position - neighbours, lte=position + neighbours)),
    ]
    if size:
        conditions.append(models.FieldCondition(key="size", match=models.MatchValue(value=size)))
    if isinstance(snapshot.chunking, SmallToBigConfig):
        conditions.append(models.FieldCondition(key="role", match=models.MatchValue(value=PARENT_ROLE)))
    return models.Filter(must=conditions)


def _window(passage: Passage, known: Mapping[_Place, Piece], neighbours: int) -> tuple[Piece, ...]:
    """Return the chunk and those around it, without a gap; it alone if its document has changed meanwhile."""
    document, size, position = _place(passage)
    if known.get((document, size, position)) not in passage.pieces:
        return passage.pieces
    pieces = list(passage.pieces)
    for direction in (-1, 1):
        for step in range(1, neighbours + 1):
            piece = known.get((document, size, position + direction * step))
            if piece is None:
                break
            pieces.append(piece)
    return tuple(sorted(pieces))
