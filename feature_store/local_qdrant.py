"""Opens an embedded Qdrant without reading its points: a collection is loaded when something first needs that.

qdrant-client reads all points of all collections when it opens a folder: seconds for 20,000. What a collection says of
itself lies beside its points, and these lie in rows that can be read and written one by one. So a load, a run that
finds nothing to do, and whoever only asks for the state of an index, hold no more points than they change.

This and the other modules `local_*` reach into private parts of qdrant-client. They are tried with the releases that
`TRIED` names; any other one gets the plain client, which answers the same.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.local.persistence import CollectionPersistence
from qdrant_client.local.qdrant_local import META_INFO_FILENAME, QdrantLocal

from feature_store.local_collection import LazyCollection

TRIED = "1.20."
_NOTHING: dict[str, dict[str, Any]] = {"collections": {}, "aliases": {}}


def open_local_qdrant(folder: Path) -> QdrantClient:
    """Open the embedded Qdrant in a folder; it is locked for other processes until the client is closed.

    Raises:
        RuntimeError: if another process has it open.
    """
    if not version("qdrant-client").startswith(TRIED):
        return QdrantClient(path=str(folder))
    client = QdrantClient(":memory:")
    client._client = _LazyQdrant(str(folder))  # noqa: SLF001
    client.cloud_inference = True  # texts become vectors elsewhere: no point and no query is searched for such texts
    return client


class _LazyQdrant(QdrantLocal):
    def create_collection(self, collection_name: str, *args: Any, **options: Any) -> bool:
        """Create a collection, and give its storage to a lazy one: there is nothing to load."""
        created = super().create_collection(collection_name, *args, **options)
        collection = self.collections[collection_name]
        assert collection.storage is not None  # noqa: S101 (it is in a folder)
        self.collections[collection_name] = LazyCollection(collection.config, collection.storage, {})
        return created

    def _load(self) -> None:
        import portalocker  # it looks for a folder to write to, and there may be none where Qdrant is a server

        folder = Path(self.location)
        folder.mkdir(parents=True, exist_ok=True)
        self._flock_file = (folder / ".lock").open("a+")
        try:
            portalocker.lock(self._flock_file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.exceptions.LockException as error:
            self._flock_file.close()
            raise RuntimeError(f"Storage folder {self.location} is already accessed by another instance.") from error
        if not (folder / META_INFO_FILENAME).exists():
            (folder / META_INFO_FILENAME).write_text(json.dumps(_NOTHING))
        meta = json.loads((folder / META_INFO_FILENAME).read_text())
        for name, config in meta["collections"].items():
            config.pop("init_from", None)
            text_indexes = meta.get("text_indexes", {}).get(name, {})
            self.collections[name] = LazyCollection(
                models.CreateCollection(**config),
                CollectionPersistence(str(self._collection_path(name))),
                {field: models.TextIndexParams(**params) for field, params in text_indexes.items()},
            )
        self.aliases = meta["aliases"]
