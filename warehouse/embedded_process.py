"""The process of the embedded server, run as a script by ``warehouse.embedded``.

``embedded_process.py USERS_LOCK [arguments of nx-27017 …]``. Everybody who uses the server holds a shared lock on the
file ``USERS_LOCK``. The operating system releases a lock however its holder ends, ``kill -9`` included; so the server
that gets the exclusive lock knows that nobody uses it any more, and ends. It holds the lock until its last moment, so
that a newcomer waits for that end.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path

POLL_SECONDS = 0.25
SHUTDOWN_SECONDS = 5.0


def main() -> None:
    """Serve until a signal comes or the last user has gone."""
    users_lock, *server_arguments = sys.argv[1:]
    threading.Thread(target=end_when_unused, args=(Path(users_lock),), daemon=True).start()
    from nx_27017.nx_27017 import main as serve

    sys.argv = ["nx-27017", *server_arguments]
    serve()


def end_when_unused(users_lock: Path) -> None:
    """Wait until no process holds ``users_lock``, then end this process."""
    with users_lock.open("rb") as file:
        while not _locked(file.fileno()):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SHUTDOWN_SECONDS)
        # Reached only when the server did not heed the signal; SQLite's journal keeps its files whole.
        os._exit(1)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main()
