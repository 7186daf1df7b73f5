"""A stand-in for a Qdrant server, in a process of its own: it keeps points in SQLite, counts them and gives them back.

It builds no graph and searches nothing. What it takes and answers is what a load needs, by REST; so the memory and the
time of the pipeline can be measured without those of Qdrant. Not a database: nothing here says anything about Qdrant.
"""

import argparse
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

Json = Any
_THRESHOLD = {"indexing_threshold": 10_000, "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000}
_OPTIMIZERS = {**_THRESHOLD, "default_segment_number": 0, "flush_interval_sec": 5}
_HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, "on_disk": False}
_DONE = {"operation_id": 0, "status": "completed"}


@contextmanager
def counting_qdrant(folder: Path) -> Iterator[str]:
    """Run the stand-in for the time of the block, its points in ``folder``; give its address."""
    command = [sys.executable, "-m", "benchmarks.counting_qdrant", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - this very module
        try:
            port = server.stdout.readline() if server.stdout else ""
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            server.terminate()


class Points:
    """The points of all collections: id to JSON, in one SQLite file. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE points (collection TEXT, id TEXT, body BLOB, PRIMARY KEY (collection, id)) WITHOUT ROWID"
        )

    def write(self, collection: str, points: Iterable[Json]) -> None:
        """Take points in, in place of those of the same id."""
        rows = ((collection, str(point["id"]), orjson.dumps(point)) for point in points)
        self._connection.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?)", rows)

    def read(self, collection: str, ids: Iterable[Json]) -> list[Json]:
        """Return those of these points that are there."""
        query = "SELECT body FROM points WHERE collection = ? AND id = ?"
        found = (self._connection.execute(query, (collection, str(name))).fetchone() for name in ids)
        return [orjson.loads(row[0]) for row in found if row]

    def page(self, collection: str, offset: Json, limit: int) -> list[Json]:
        """Return up to ``limit`` points in the order of their ids, from ``offset`` on."""
        query = "SELECT body FROM points WHERE collection = ? AND id >= ? ORDER BY id LIMIT ?"
        return [orjson.loads(row[0]) for row in self._connection.execute(query, (collection, str(offset or ""), limit))]

    def count(self, collection: str) -> int:
        """Return the number of points of a collection."""
        query = "SELECT count(*) FROM points WHERE collection = ?"
        return int(self._connection.execute(query, (collection,)).fetchone()[0])

    def remove(self, collection: str, ids: Iterable[Json]) -> None:
        """Remove points."""
        query = "DELETE FROM points WHERE collection = ? AND id = ?"
        self._connection.executemany(query, ((collection, str(name)) for name in ids))


class Server:
    """What the server knows beside its points: collections, their metadata, aliases."""

    def __init__(self, folder: Path) -> None:
        self.points = Points(folder / "points.sqlite")
        self.configs: dict[str, Json] = {}
        self.indexes: dict[str, Json] = {}
        self.aliases: dict[str, str] = {}
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, body: Json) -> Json:
        """Return the result of a request; None where there is nothing of that name."""
        for (asked, pattern), handler in _ROUTES.items():
            found = re.fullmatch(pattern, path)
            if asked == method and found:
                with self.lock:
                    return handler(self, body, *found.groups())
        raise LookupError(f"this stand-in has no answer to {method} {path}")


def _list(server: Server, _: Json) -> Json:
    return {"collections": [{"name": name} for name in server.configs]}


def _exists(server: Server, _: Json, collection: str) -> Json:
    return {"exists": collection in server.configs}


def _create(server: Server, body: Json, collection: str) -> Json:
    params = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
    params |= {name: body[name] for name in ("vectors", "sparse_vectors", *params) if name in body}
    server.configs[collection] = {
        "params": params,
        "hnsw_config": _HNSW | (body.get("hnsw_config") or {}),
        "optimizer_config": _OPTIMIZERS | (body.get("optimizers_config") or {}),
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        "quantization_config": body.get("quantization_config"),
        "strict_mode_config": body.get("strict_mode_config"),
        "metadata": body.get("metadata"),
    }
    server.indexes[collection] = {}
    return True


def _describe(server: Server, _: Json, collection: str) -> Json:
    if collection not in server.configs:
        return None
    return {
        "status": "green", "optimizer_status": "ok", "segments_count": 1,
        "config": server.configs[collection], "payload_schema": server.indexes[collection],
    }  # fmt: skip


def _update(server: Server, body: Json, collection: str) -> Json:
    config = server.configs[collection]
    config["hnsw_config"] |= body.get("hnsw_config") or {}
    config["optimizer_config"] |= body.get("optimizers_config") or {}
    merged = (config["metadata"] or {}) | (body.get("metadata") or {})
    config["metadata"] = {name: value for name, value in merged.items() if value is not None}
    return True


def _index(server: Server, body: Json, collection: str) -> Json:
    schema = body["field_schema"]
    kind, params = (schema, None) if isinstance(schema, str) else (schema["type"], schema)
    server.indexes[collection][body["field_name"]] = {"data_type": kind, "params": params, "points": 0}
    return _DONE


def _list_aliases(server: Server, _: Json) -> Json:
    return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in server.aliases.items()]}


def _change_aliases(server: Server, body: Json) -> Json:
    for action in body["actions"]:
        if created := action.get("create_alias"):
            server.aliases[created["alias_name"]] = created["collection_name"]
        if removed := action.get("delete_alias"):
            server.aliases.pop(removed["alias_name"], None)
    return True


def _upsert(server: Server, body: Json, collection: str) -> Json:
    server.points.write(collection, body["points"] if "points" in body else _of_batch(body["batch"]))
    return _DONE


def _of_batch(batch: Json) -> Iterator[Json]:
    for place, name in enumerate(batch["ids"]):
        vectors = {vector: values[place] for vector, values in batch["vectors"].items()}
        yield {"id": name, "vector": vectors, "payload": batch["payloads"][place]}


def _change(server: Server, body: Json, collection: str) -> Json:
    for operation in body["operations"]:
        if "upsert" in operation:
            _upsert(server, operation["upsert"], collection)
        elif "overwrite_payload" in operation:
            wanted = operation["overwrite_payload"]
            points = server.points.read(collection, wanted["points"])
            server.points.write(collection, [point | {"payload": wanted["payload"]} for point in points])
        elif "delete" in operation:
            server.points.remove(collection, operation["delete"]["points"])
        else:
            raise LookupError(f"this stand-in has no answer to {sorted(operation)}")
    return [_DONE for _ in body["operations"]]


def _remove(server: Server, body: Json, collection: str) -> Json:
    server.points.remove(collection, body["points"])
    return _DONE


def _count(server: Server, _: Json, collection: str) -> Json:
    return {"count": server.points.count(collection)}


def _retrieve(server: Server, body: Json, collection: str) -> Json:
    return [_shown(point, body) for point in server.points.read(collection, body["ids"])]


def _scroll(server: Server, body: Json, collection: str) -> Json:
    limit = body.get("limit") or 10
    points = server.points.page(collection, body.get("offset"), limit + 1)
    following = points[limit]["id"] if len(points) > limit else None
    return {"points": [_shown(point, body) for point in points[:limit]], "next_page_offset": following}


def _shown(point: Json, asked: Json) -> Json:
    shown = {"id": point["id"]}
    if asked.get("with_payload") is not False:
        shown["payload"] = point.get("payload")
    if asked.get("with_vector"):
        shown["vector"] = point.get("vector")
    return shown


_C = r"/collections/([^/]+)"
_ROUTES: dict[tuple[str, str], Callable[..., Json]] = {
    ("GET", "/collections"): _list,
    ("GET", "/aliases"): _list_aliases,
    ("POST", "/collections/aliases"): _change_aliases,
    ("GET", f"{_C}/exists"): _exists,
    ("PUT", _C): _create,
    ("GET", _C): _describe,
    ("PATCH", _C): _update,
    ("PUT", f"{_C}/index"): _index,
    ("PUT", f"{_C}/points"): _upsert,
    ("POST", f"{_C}/points"): _retrieve,
    ("POST", f"{_C}/points/delete"): _remove,
    ("POST", f"{_C}/points/batch"): _change,
    ("POST", f"{_C}/points/count"): _count,
    ("POST", f"{_C}/points/scroll"): _scroll,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_HttpServer"

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        try:
            result = self.server.state.answer(self.command, path, orjson.loads(content) if content else None)
        except LookupError as error:
            self._send(501, {"status": {"error": str(error)}, "time": 0})
            return
        if result is None:
            self._send(404, {"status": {"error": "Not found"}, "time": 0})
        else:
            self._send(200, {"result": result, "status": "ok", "time": 0})

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815 - the names that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gives
        """Say nothing."""

    def _send(self, status: int, answer: Json) -> None:
        content = orjson.dumps(answer)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state


def main() -> None:
    """Serve until the process is ended; the first line of the output is the port."""
    parser = argparse.ArgumentParser(description="A stand-in for a Qdrant server that only keeps points.")
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    server = _HttpServer(Server(folder))
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
