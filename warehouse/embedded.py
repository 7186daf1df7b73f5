"""The embedded warehouse: ``nx-27017``, a server on SQLite that speaks MongoDB's protocol, as a child process.

Who opens it first starts it, who leaves last stops it; processes that open it in between use the same server. Two lock
files decide this, for the operating system releases a lock however its holder ends, and a process id can be recycled:

- ``users.lock``: held shared by everybody who uses the server, held exclusively by whoever shuts it down;
- ``server.lock``: held by the server as long as it lives. The opener takes it and the child inherits it, so that at no
  moment two servers can be started on the same files.

``server.json`` tells where the holder of ``server.lock`` listens; a file without that holder is stale and is not read.

POSIX only; elsewhere set ``MONGO_URI``.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from feature_store.errors import ConfigurationError, TransientError
from feature_store.files import write_json_atomically
from feature_store.settings import Settings

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
STOP_ATTEMPTS = 20
_POLL_SECONDS = 0.02
_PING_MILLISECONDS = 1000
_LOG_TAIL_LINES = 15
_LISTENING = re.compile(r"Listening on \S+:(\d+)$", re.MULTILINE)

# A forked worker inherits these; one that outlives us must not pass for a user of the server.
_users_locks: set[int] = set()


def _close_inherited_locks() -> None:
    for descriptor in _users_locks:
        os.close(descriptor)
    _users_locks.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. ``process`` is set where this process started it."""

    pid: int
    port: int
    process: subprocess.Popen[bytes] | None = None


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """What the server needs beside its data, in a folder of its own."""

    data: Path
    folder: Path

    @property
    def users_lock(self) -> Path:
        return self.folder / "users.lock"

    @property
    def server_lock(self) -> Path:
        return self.folder / "server.lock"

    @property
    def state(self) -> Path:
        return self.folder / "server.json"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid(self) -> Path:
        return self.folder / "server.pid"


def server_files(settings: Settings) -> ServerFiles:
    """Return where the embedded server keeps its files."""
    return ServerFiles(data=settings.warehouse_folder, folder=settings.data_dir / "warehouse_server")


@contextmanager
def embedded_server(settings: Settings) -> Iterator[int]:
    """Give the port of the embedded server of this data folder, started if nobody serves it yet.

    Raises:
        ConfigurationError: if the data folder cannot be written, or the server ends at once.
        TransientError: if the server does not answer in time.
    """
    files = server_files(settings)
    users = _opened_users_lock(files)
    try:
        if not _acquired(users, fcntl.LOCK_SH, STOP_SECONDS * 2):
            raise TransientError(f"The embedded warehouse in {files.data} does not finish its shutdown.", "Try again.")
        server = _joined_or_started(files)
        try:
            yield server.port
        finally:
            _leave(files, server, users)
    finally:
        _users_locks.discard(users)
        os.close(users)


def _opened_users_lock(files: ServerFiles) -> int:
    try:
        files.data.mkdir(parents=True, exist_ok=True)
        files.folder.mkdir(parents=True, exist_ok=True)
        users = os.open(files.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The embedded warehouse cannot write to {error.filename}: {error.strerror}.",
            "Set DATA_DIR to a folder that you may write, or MONGO_URI to use a MongoDB server.",
        ) from None
    _users_locks.add(users)
    return users


def _joined_or_started(files: ServerFiles) -> Server:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        lock = os.open(files.server_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _acquired(lock, fcntl.LOCK_EX, 0):
                return _started(files, lock, deadline)
        finally:
            # The child has inherited the lock: it stays held until the child ends.
            os.close(lock)
        running = _recorded_server(files)
        if running is not None and _answers(running.port):
            return running
        time.sleep(_POLL_SECONDS)
    raise TransientError(
        f"Another process serves the embedded warehouse in {files.data}, but it does not answer.",
        f"Wait for it, or end the process named in {files.state}.",
    )


def _started(files: ServerFiles, lock: int, deadline: float) -> Server:
    for stale in (files.state, files.pid):
        stale.unlink(missing_ok=True)
    with files.log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own script, no outside input
            _command(files),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            # Ctrl-C in the terminal is for us; the server ends after our last read.
            start_new_session=True,
        )
    try:
        port = _awaited_port(files, process, deadline)
        write_json_atomically(files.state, {"pid": process.pid, "port": port})
    except BaseException:  # Ctrl-C included: no server may stay behind without a user
        process.kill()
        process.wait()
        raise
    return Server(pid=process.pid, port=port, process=process)


def _command(files: ServerFiles) -> list[str]:
    script = Path(__file__).with_name("embedded_process.py")
    # -P: our folder must not shadow other modules. -W: warnings go to its log, whatever PYTHONWARNINGS says.
    interpreter = [sys.executable, "-P", "-W", "default", str(script), str(files.users_lock)]
    # Port 0 lets the system choose a free one, without a race. The log comes through stderr, tracebacks included.
    listen = ["--host", HOST, "--port", "0", "--log-file", os.devnull, "--pid-file", str(files.pid)]
    return [*interpreter, "--data-dir", str(files.data), *listen]


def _awaited_port(files: ServerFiles, process: subprocess.Popen[bytes], deadline: float) -> int:
    while time.monotonic() < deadline:
        listening = _LISTENING.search(_log_text(files))
        if listening is not None and _answers(int(listening[1])):
            return int(listening[1])
        if process.poll() is not None:
            raise ConfigurationError(
                f"The embedded warehouse ended at its start (exit code {process.returncode}):\n{_log_tail(files)}",
                f"The whole log is {files.log}.",
            )
        time.sleep(_POLL_SECONDS)
    raise TransientError(
        f"The embedded warehouse did not answer within {START_SECONDS:g} s:\n{_log_tail(files)}",
        f"The whole log is {files.log}.",
    )


def _leave(files: ServerFiles, server: Server, users: int) -> None:
    fcntl.flock(users, fcntl.LOCK_UN)
    if _acquired(users, fcntl.LOCK_EX, 0):
        _stop(files, server)
    elif server.process is not None:
        # Others still use it: it ends after them. Somebody must take its exit code if we are still there.
        threading.Thread(target=server.process.wait, daemon=True).start()


def _stop(files: ServerFiles, server: Server) -> None:
    # Several times: its handler raises SystemExit, which is lost where it happens to land in a `__del__`.
    for stop_signal in (*[signal.SIGTERM] * STOP_ATTEMPTS, signal.SIGKILL):
        if _server_ended(files, 0):
            break
        _send(stop_signal, files, server)
        _server_ended(files, STOP_SECONDS / STOP_ATTEMPTS)
    files.state.unlink(missing_ok=True)
    if server.process is not None:
        server.process.wait()


def _send(stop_signal: signal.Signals, files: ServerFiles, server: Server) -> None:
    if server.process is not None and server.process.poll() is None:
        server.process.send_signal(stop_signal)
        return
    # Read anew: the server may have been replaced since we joined. Its lock is held, so that its pid is its own.
    holder = _recorded_server(files)
    if holder is not None:
        with suppress(ProcessLookupError):
            os.kill(holder.pid, stop_signal)


def _server_ended(files: ServerFiles, seconds: float) -> bool:
    lock = os.open(files.server_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        return _acquired(lock, fcntl.LOCK_EX, seconds)
    finally:
        os.close(lock)


def _acquired(descriptor: int, operation: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def _answers(port: int) -> bool:
    client: MongoClient[dict[str, object]] = MongoClient(HOST, port, serverSelectionTimeoutMS=_PING_MILLISECONDS)
    try:
        client.admin.command("ping")
    except PyMongoError:
        return False
    finally:
        client.close()
    return True


def _recorded_server(files: ServerFiles) -> Server | None:
    try:
        state = json.loads(files.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Server(pid=state["pid"], port=state["port"])


def _log_text(files: ServerFiles) -> str:
    return files.log.read_text(encoding="utf-8", errors="replace")


def _log_tail(files: ServerFiles) -> str:
    return "\n".join(_log_text(files).splitlines()[-_LOG_TAIL_LINES:])
