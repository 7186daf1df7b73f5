"""One installation for the fault suite: embedded warehouse, local Qdrant on disk, stand-in for the model."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pymongo.database import Database
from qdrant_client import QdrantClient

from feature_store.config import PipelineConfig
from feature_store.index import open_qdrant
from feature_store.settings import Settings
from steps.embed import apply as embed_stage
from tests.application import MODES, Application, DrainingFlow
from tests.flow import CATEGORY, Document, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import WORDS, make_notes
from warehouse.connection import open_warehouse

SEED = 27
NOTES = 24
COMMIT = 8  # texts; the suite's documents are few, so a commit of vectors is smaller than in the product
IN_FLIGHT = 4 * COMMIT  # texts that a crash may lose: two batches that ended together, and two that the model has then


@dataclass(frozen=True)
class Place:
    """Where an installation is: its data folder, the data folder of the warehouse's server, the database, the mode."""

    folder: Path
    warehouse: Path
    database: str
    mode: str

    @property
    def journal(self) -> Path:
        """Return the file that names every text embedded here."""
        return self.folder / "embedded.txt"

    def moved(self, folder: Path) -> "Place":
        """Return the same place with another data folder."""
        return replace(self, folder=folder)

    def embedded(self) -> Counter[str]:
        """Return how often each text was embedded here."""
        return Counter(self.journal.read_text(encoding="utf-8").split() if self.journal.exists() else [])


def config_for(mode: str) -> PipelineConfig:
    """Return the configuration whose category `notes` is captured by ``mode``."""
    category = {**CATEGORY, "format": "markdown", "capture": MODES[mode]}
    return notes_config("stand-in", categories=[category])


def make_flow(place: Place, client: QdrantClient) -> DrainingFlow:
    """Return the stages of an installation whose vectors come from the stand-in."""
    place.folder.mkdir(parents=True, exist_ok=True)
    flow = DrainingFlow(place.folder, config_for(place.mode), client)
    encoder = HashEncoder(journal=place.journal)
    flow.load_encoder = lambda config: encoder
    flow._runs = itertools.count(time.time_ns())  # folders of its own, whichever process ran here before
    return flow


@contextmanager
def opened(place: Place) -> Iterator[tuple[DrainingFlow, Database[Document]]]:
    """Open everything as a run does; vectors are stored after every few texts."""
    with (
        open_warehouse(Settings(data_dir=place.warehouse, mongo_database=place.database, _env_file=None)) as database,
        open_qdrant(Settings(data_dir=place.folder, _env_file=None)) as client,
    ):
        embed_stage.TEXTS_PER_BATCH, embed_stage.SECONDS_PER_COMMIT = COMMIT, 0.0
        yield make_flow(place, client), database


def fill(database: Database[Document]) -> None:
    """Insert the documents of the first run: some equal, some bad."""
    same = [note(f"same-{number}", "The same text in several notes. It is short.") for number in range(3)]
    bad = [note("bad-0", None), note("bad-1", b"\x00bytes"), note("bad-2", None)]
    Application(database, "notes").insert([*make_notes(NOTES), *same, *bad])


def edit(database: Database[Document]) -> None:
    """Change one document of every kind in every way; always the same."""
    application, chance = Application(database, "notes"), random.Random(SEED)
    names = [f"note-{number:05d}" for number in range(NOTES)]
    chance.shuffle(names)
    for name in names[:6]:
        application.change(name, body=_with_another_paragraph(application.collection, name, chance))
    for name in names[6:9]:
        application.change(name, topic=f"another {name}")
    for name in names[9:11]:
        application.change(name, views=7)
    application.change(names[11], body=None)
    application.change("bad-0", body="Now it has a text. It is about a river.")
    application.change("bad-1", body=b"\x00other bytes")
    application.delete([*names[12:15], "same-0", "bad-2"])
    application.insert([*make_notes(5, start=500), note("bad-3", None)])
    application.delete(["note-00501"])
    application.insert([note("note-00501", "Deleted and inserted again. Another text now.")])


def turn_back(database: Database[Document], before: list[Document]) -> None:
    """Take back some of what ``edit`` did; ``before`` are the documents as they were before it."""
    application = Application(database, "notes")
    was = {document["_id"]: document for document in before}
    is_now = {document["_id"]: document for document in application.collection.find()}
    added = sorted(is_now.keys() - was.keys())
    edited = sorted(name for name in is_now.keys() & was.keys() if is_now[name]["body"] != was[name]["body"])
    deleted = sorted(was.keys() - is_now.keys())
    application.delete([*added[::2], *edited[::2]])
    application.insert([was[name] for name in (*edited[::2], *deleted[::2])])


def restore(database: Database[Document], documents: list[Document]) -> None:
    """Bring the documents back to what they were, with as few writes as possible."""
    wanted = {document["_id"]: document for document in documents}
    present = {document["_id"]: document for document in database["notes"].find()}
    database["notes"].delete_many({"_id": {"$in": [name for name in present if present[name] != wanted.get(name)]}})
    if missing := [document for name, document in wanted.items() if present.get(name) != document]:
        database["notes"].insert_many(missing)


def _with_another_paragraph(collection: Any, name: str, chance: random.Random) -> str:
    paragraphs = collection.find_one({"_id": name})["body"].split("\n\n")
    paragraphs[chance.randrange(1, len(paragraphs))] = " ".join(chance.choices(WORDS, k=40)) + "."
    return "\n\n".join(paragraphs)
