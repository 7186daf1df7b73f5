"""A disk that takes no more: the write fails, what was published stays, and the next commit succeeds."""

import subprocess
import sys
from pathlib import Path

import pytest

from feature_store.store import open_feature_store
from tests.support import REPOSITORY

COMMIT = """
import resource, signal, sys
from pathlib import Path
import pyarrow as pa
from feature_store import schema
from feature_store.commit import ChangeSet, RunDescription, commit
from feature_store.parts import write_part
from feature_store.store import LIVE, open_feature_store

folder, name, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = open_feature_store(folder / "feature_store")
text = "".join(chr(32 + (i * i * 7919 + i) % 90) for i in range(400_000))  # does not compress well
row = dict.fromkeys(schema.DOCUMENTS.names) | {
    "document_id": name, "category": "notes", "source_id": name, "source_hash": name, "state": LIVE, "text": text,
    "text_format": "text", "metadata": "{}", "text_hash": name, "content_hash": name, "characters": len(text),
    "added_in": 1, "changed_in": 1,
}
part = write_part(folder / "parts", name, 0, pa.Table.from_pylist([row], schema=schema.DOCUMENTS))
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
commit(store, ChangeSet(documents=[part]), RunDescription("run", "configuration"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX resource limits")
def test_a_commit_on_a_full_disk_changes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    assert _commit(tmp_path, "first", limit=0).returncode == 0
    store = open_feature_store(tmp_path / "feature_store")
    before = store.newest()
    assert before is not None

    failed = _commit(tmp_path, "second", limit=20_000)
    assert failed.returncode != 0
    assert "File too large" in failed.stderr
    assert store.newest() == before
    assert store.count_documents(before) == 1

    assert _commit(tmp_path, "second", limit=0).returncode == 0
    after = store.newest()
    assert after is not None
    assert after.number == before.number + 1
    assert store.count_documents(after) == 2


def _commit(folder: Path, name: str, limit: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMIT, str(folder), name, str(limit)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
