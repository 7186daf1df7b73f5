"""A Qdrant server for tests: the real client's REST requests, answered from memory, each body checked and kept.

Requests are checked by Qdrant's own models, which refuse what they do not know. Points go to an embedded Qdrant. How a
server keeps a collection is kept as it was asked for, over the defaults of a server; it never builds a graph.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

Json = Any
SERVER_DEFAULTS: dict[str, Json] = {
    "params": {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True},
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "on_disk": False},
    "optimizer_config": {
        "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
        "indexing_threshold": 10000, "flush_interval_sec": 5,
    },
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What was asked of the server."""

    method: str
    path: str
    body: Json


@dataclass
class FakeServer:
    """A server that `client` talks to; `requests` are all that it was asked, in order.

    ``statuses`` are what it says of a collection, one for each time it is asked; green afterwards. ``before`` is called
    with each request before it is answered, and may raise. Snapshots are listed after ``looks_for_a_snapshot`` looks.
    """

    requests: list[Request] = field(default_factory=list)
    configs: dict[str, Json] = field(default_factory=dict)
    indexes: dict[str, Json] = field(default_factory=dict)
    snapshots: dict[str, list[str]] = field(default_factory=dict)
    statuses: list[str] = field(default_factory=list)
    looks_for_a_snapshot: int = 0
    before: Callable[[Request], None] = lambda request: None
    points: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self) -> QdrantClient:
        """Return a client whose every request comes here."""
        transport = httpx.MockTransport(self._answer)
        return QdrantClient(url="http://qdrant.test", transport=transport, check_compatibility=False)

    def bodies(self, method: str, path: str) -> list[Json]:
        """Return the bodies of the requests whose path ends so."""
        return [asked.body for asked in self.requests if asked.method == method and asked.path.endswith(path)]

    def changes(self) -> list[Json]:
        """Return what collections were asked to change, apart from what they say of themselves."""
        asked = [request.body for request in self.requests if request.method == "PATCH"]
        return [body for body in asked if body.keys() != {"metadata"}]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        asked = Request(request.method, request.url.path, body)
        self.before(asked)
        with self.lock:
            self.requests.append(asked)
            for (method, pattern), answer in _ROUTES.items():
                found = re.fullmatch(pattern, asked.path)
                if method == asked.method and found:
                    return _response(answer(self, asked, *found.groups()))
        raise AssertionError(f"no answer to {asked.method} {asked.path}")


def _response(result: Json) -> httpx.Response:
    if result is None:
        return httpx.Response(404, json={"status": {"error": "Not found"}, "time": 0})
    if result is _ACCEPTED:
        return httpx.Response(202, json={"status": "accepted", "time": 0})
    content = TypeAdapter(Any).dump_python(result, mode="json")
    return httpx.Response(200, json={"result": content, "status": "ok", "time": 0})


def _list(server: FakeServer, asked: Request) -> Json:
    return {"collections": [{"name": name} for name in server.configs]}


def _exists(server: FakeServer, asked: Request, collection: str) -> Json:
    return {"exists": collection in server.configs}


def _create(server: FakeServer, asked: Request, collection: str) -> Json:
    created = models.CreateCollection.model_validate(asked.body).model_dump(mode="json", exclude_none=True)
    server.points.create_collection(
        collection,
        vectors_config={name: models.VectorParams(**kept) for name, kept in created["vectors"].items()},
        sparse_vectors_config={
            name: models.SparseVectorParams(**kept) for name, kept in created["sparse_vectors"].items()
        },
    )
    config = json.loads(json.dumps(SERVER_DEFAULTS))
    for name in ("vectors", "sparse_vectors", *config["params"]):
        if name in created:
            config["params"][name] = created[name]
    for name in ("quantization_config", "strict_mode_config", "metadata"):
        config[name] = created.get(name)
    config["hnsw_config"] |= created.get("hnsw_config", {})
    config["optimizer_config"] |= created.get("optimizers_config", {})
    server.configs[collection] = config
    server.indexes[collection] = {}
    return True


def _get(server: FakeServer, asked: Request, collection: str) -> Json:
    if collection not in server.configs:
        return None
    status = server.statuses.pop(0) if server.statuses else "green"
    return {
        "status": status, "optimizer_status": "ok", "segments_count": 1,
        "config": server.configs[collection], "payload_schema": server.indexes[collection],
    }  # fmt: skip


def _update(server: FakeServer, asked: Request, collection: str) -> Json:
    models.UpdateCollection.model_validate(asked.body)
    config, body = server.configs[collection], asked.body
    config["hnsw_config"] |= body.get("hnsw_config") or {}
    config["optimizer_config"] |= body.get("optimizers_config") or {}
    config["params"] |= body.get("params") or {}
    for kind in ("vectors", "sparse_vectors"):
        for name, kept in (body.get(kind) or {}).items():
            config["params"][kind][name] |= kept
    if body.get("quantization_config"):
        wanted = body["quantization_config"]
        config["quantization_config"] = None if wanted == "Disabled" else wanted
    if body.get("strict_mode_config"):
        config["strict_mode_config"] = (config["strict_mode_config"] or {}) | body["strict_mode_config"]
    merged = (config["metadata"] or {}) | (body.get("metadata") or {})
    config["metadata"] = {name: value for name, value in merged.items() if value is not None}
    return True


def _index(server: FakeServer, asked: Request, collection: str) -> Json:
    wanted = models.CreateFieldIndex.model_validate(asked.body)
    schema = wanted.field_schema
    params = None if isinstance(schema, models.PayloadSchemaType) else asked.body["field_schema"]
    kind = schema.value if isinstance(schema, models.PayloadSchemaType) else schema.type.value
    server.indexes[collection][wanted.field_name] = {"data_type": kind, "params": params, "points": 0}
    return _DONE


def _aliases(server: FakeServer, asked: Request) -> Json:
    return server.points.get_aliases()


def _change_aliases(server: FakeServer, asked: Request) -> Json:
    return server.points.update_collection_aliases(models.ChangeAliasesOperation.model_validate(asked.body).actions)


def _upsert(server: FakeServer, asked: Request, collection: str) -> Json:
    server.points.upsert(collection, models.PointsList.model_validate(asked.body).points)
    return _DONE


def _delete(server: FakeServer, asked: Request, collection: str) -> Json:
    server.points.delete(collection, TypeAdapter(models.PointsSelector).validate_python(asked.body))
    return _DONE


def _batch(server: FakeServer, asked: Request, collection: str) -> Json:
    operations = models.UpdateOperations.model_validate(asked.body).operations
    server.points.batch_update_points(collection, operations)
    return [_DONE for _ in operations]


def _count(server: FakeServer, asked: Request, collection: str) -> Json:
    return server.points.count(collection, exact=True)


def _retrieve(server: FakeServer, asked: Request, collection: str) -> Json:
    wanted = models.PointRequest.model_validate(asked.body)
    return server.points.retrieve(collection, wanted.ids, wanted.with_payload, bool(wanted.with_vector))


def _scroll(server: FakeServer, asked: Request, collection: str) -> Json:
    wanted = models.ScrollRequest.model_validate(asked.body)
    points, following = server.points.scroll(
        collection,
        wanted.filter,
        wanted.limit or 10,
        None,
        wanted.offset,
        wanted.with_payload,
        bool(wanted.with_vector),
    )
    return {"points": points, "next_page_offset": following}


def _snapshot(server: FakeServer, asked: Request, collection: str) -> Json:
    made = server.snapshots.setdefault(collection, [])
    made.append(f"{collection}-{len(made)}.snapshot")
    return _ACCEPTED


def _snapshots(server: FakeServer, asked: Request, collection: str) -> Json:
    made = server.snapshots.get(collection, [])
    if made and server.looks_for_a_snapshot:
        server.looks_for_a_snapshot -= 1
        made = made[:-1]
    return [{"name": name, "size": 1} for name in made]


_ACCEPTED = object()
_DONE = {"operation_id": 0, "status": "completed"}
_C = r"/collections/([^/]+)"
_ROUTES: dict[tuple[str, str], Callable[..., Json]] = {
    ("GET", "/collections"): _list,
    ("GET", "/aliases"): _aliases,
    ("POST", "/collections/aliases"): _change_aliases,
    ("GET", f"{_C}/exists"): _exists,
    ("PUT", _C): _create,
    ("GET", _C): _get,
    ("PATCH", _C): _update,
    ("PUT", f"{_C}/index"): _index,
    ("PUT", f"{_C}/points"): _upsert,
    ("POST", f"{_C}/points"): _retrieve,
    ("POST", f"{_C}/points/delete"): _delete,
    ("POST", f"{_C}/points/batch"): _batch,
    ("POST", f"{_C}/points/count"): _count,
    ("POST", f"{_C}/points/scroll"): _scroll,
    ("POST", f"{_C}/snapshots"): _snapshot,
    ("GET", f"{_C}/snapshots"): _snapshots,
}
