"""Two embedded Qdrants with the same points, the plain one and the one that loads late, and what both are asked."""

import pickle
import sqlite3
import uuid
from contextlib import closing

import numpy as np
from pydantic import BaseModel
from qdrant_client import QdrantClient, models

C = "c"
IDS = [str(uuid.UUID(int=number << 64 | number)) for number in range(0xA1, 0xA9)]
ABSENT = str(uuid.UUID(int=0xFF))
VECTORS = [[1.0, 0.5, 0.25], [0.1, -0.2, 0.3], [0.0, 0.0, 0.0], np.array([0.3, 0.1, -0.7], np.float32)]


def open_plain(folder):
    return QdrantClient(path=str(folder))


def create(client):
    client.create_collection(
        C,
        vectors_config={"dense": models.VectorParams(size=3, distance=models.Distance.COSINE)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={"version": 1, "encoder": {"model": "m", "size": 3}},
    )


def make(folder):
    """Make an embedded Qdrant with an empty collection, and one with a point."""
    with closing(open_plain(folder)) as client:
        create(client)
        client.create_collection("other", vectors_config={})
        client.upsert("other", [models.PointStruct(id=IDS[0], vector={}, payload={})])
        client.update_collection_aliases([aliased("alias", C)])


def aliased(alias, collection):
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))


def point(number):
    """Return one of 32 points: four for each id, with all, some or no vectors."""
    identifier, kind = divmod(number, 4)
    vector = {} if kind == 3 else {"dense": VECTORS[(identifier + kind) % len(VECTORS)]}
    if kind != 1:
        vector["bm25"] = models.SparseVector(indices=[identifier, 50 + kind], values=[1.0, 0.5])
    payload = {"number": number, "even": kind % 2 == 0, "text": f"ä {number}", "of": {"id": [identifier]}}
    return models.PointStruct.model_construct(id=IDS[identifier], vector=vector, payload=payload)


def upsert(numbers, **options):
    return lambda client: client.upsert(C, [point(number) for number in numbers], **options)


def filtered(identifier):
    return models.Filter(must=models.FieldCondition(key="of.id", match=models.MatchValue(value=identifier)))


def retrieve(ids, with_payload, with_vectors):
    return lambda client: client.retrieve(C, ids, with_payload=with_payload, with_vectors=with_vectors)


def scroll(limit, offset, with_payload, with_vectors):
    contents = {"with_payload": with_payload, "with_vectors": with_vectors}
    return lambda client: client.scroll(C, limit=limit, offset=offset, **contents)


def delete(ids):
    return lambda client: client.delete(C, ids)


def overwritten(ids, payload):
    update = models.SetPayload(payload=payload, points=ids)
    return models.OverwritePayloadOperation(overwrite_payload=update)


def overwrite(*updates):
    operations = [overwritten(ids, payload) for ids, payload in updates]
    return lambda client: client.batch_update_points(C, operations)


def answer(operation, client):
    try:
        return told(operation(client))
    except (ValueError, KeyError, TypeError) as error:
        return repr(error)


def told(value):
    """Return an answer so that equal ones are equal: in any order of points with the same score, and rounded.

    What is brought to length 1 in one go differs in the last digits from what is one by one.
    """
    if isinstance(value, BaseModel):
        return told(vars(value))
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], models.ScoredPoint):
        return sorted((told(item) for item in value), key=lambda item: (-item["score"], item["id"]))
    if isinstance(value, list) and value and isinstance(value[0], models.PointGroup):
        return sorted((told(item) for item in value), key=lambda item: str(item["id"]))
    if isinstance(value, list | tuple | np.ndarray):
        return [told(item) for item in value]
    return round(float(value), 5) if isinstance(value, float | np.floating) else value


def rows(folder):
    """Return the keys and the points that are in the file of a collection, in the order in which they were written."""
    with closing(sqlite3.connect(folder / "collection" / C / "storage.sqlite")) as storage:
        found = storage.execute("SELECT id, point FROM points ORDER BY rowid").fetchall()
    return [(key, pickle.loads(point)) for key, point in found]
