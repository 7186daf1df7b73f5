"""Whatever happens between runs, and wherever a run dies: after the next one everything is as a model says.

The model is made from scratch, from the documents as they are: cleaned and cut by the pure functions, nothing stored.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bson import ObjectId
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from pymongo import MongoClient
from qdrant_client import QdrantClient

from feature_store.config import PipelineConfig
from feature_store.encoders import load_sparse_encoder
from feature_store.ids import document_id, source_id, text_hash
from feature_store.index_config import SparseConfig
from feature_store.records import CleanedDocument, RawDocument
from feature_store.settings import Settings
from steps.chunk.payload import make_payload
from steps.chunk.sliding_window import chunk_document
from steps.clean.clean import clean_document
from steps.extract.fields import mapped_fields
from tests.application import MODES, Application, DrainingFlow
from tests.comparison import Points, State, differences, misplaced_duplicates, read_state
from tests.faults.faults import Fault, armed
from tests.flow import CATEGORY, Document, ModelCrashedError, note, notes_config
from tests.stand_in import HashEncoder, hashed_vectors
from tests.support import WORDS
from warehouse.connection import open_warehouse

EXAMPLES = 20
STEPS = 25
TEXTS_PER_BATCH = 256
ANCHOR = "anchor"  # never deleted: a source that is empty is a matter of its own
IDENTIFIERS = ["a", "b", "c", "d", "e", ObjectId(b"twelve bytes"), 7]
LOSES_VECTORS = Fault("feature_store.vectors:VectorTable.append")
WITHIN_THE_COMMIT = [
    Fault("feature_store.commit:_write_rejects"),
    Fault("feature_store.versions:publish_version"),
]
FAULTS = [
    *WITHIN_THE_COMMIT,
    Fault("tests.flow:Flow.clean"),
    Fault("feature_store.versions:publish_version", when="after"),
    Fault("tests.flow:Flow.embed"),
    LOSES_VECTORS,
    Fault("qdrant_client.local.local_collection:LocalCollection._add_point", 3),
    Fault("qdrant_client.local.qdrant_local:QdrantLocal.delete"),
    Fault("feature_store.index_record:IndexRecord.write"),
    Fault("feature_store.index_record:IndexRecord.publish"),
    Fault("feature_store.index_record:IndexRecord.publish", when="after"),
    Fault("steps.load.apply:publish"),
    Fault("qdrant_client.local.qdrant_local:QdrantLocal.update_collection_aliases"),
]
PARAGRAPHS = [
    f"Paragraph {number} is about the {WORDS[number]}. " + " ".join(WORDS[number:] + WORDS[:number]) + "."
    for number in range(10)
]

identifiers = st.sampled_from(IDENTIFIERS)
bodies = st.one_of(
    st.sampled_from(PARAGRAPHS[:2]),
    st.lists(st.sampled_from(["# A heading", "## Another", *PARAGRAPHS]), min_size=1, max_size=6).map("\n\n".join),
)
topics = st.sampled_from(WORDS[:3])
modes = st.sampled_from(sorted(MODES))


def configuration(mode: str, window: int, mapped: dict[str, str]) -> PipelineConfig:
    category = {
        **CATEGORY,
        "format": "markdown",
        "metadata": mapped,
        "deleted_field": "gone",
        "capture": MODES[mode],
    }
    index = notes_config("stand-in").indexes[0].model_dump()
    sized = {**index, "chunking": {"window": window, "overlap": 8}}
    cleaning = {"max_rejected_share": 1.0}
    return notes_config(categories=[category], indexes=[sized], cleaning=cleaning)


def model_of(documents: list[Document], config: PipelineConfig) -> State:
    """Return what an installation has to hold, by pure functions of the documents as they are."""
    (category,), (index,) = config.categories, config.indexes
    encoder, sparse = HashEncoder(), load_sparse_encoder(SparseConfig())[0]
    rows, rejects, payloads, texts = {}, {}, {}, {}
    for document in documents:
        if document.get("gone"):
            continue
        name = source_id(document["_id"])
        identifier = document_id(category.name, name)
        raw = RawDocument(identifier, category.name, name, "", mapped_fields(document, category.paths()))
        cleaned = clean_document(raw, category, config.cleaning)
        if not isinstance(cleaned, CleanedDocument):
            rejects[identifier] = {"source_id": name, "reason": cleaned.reason}
            continue
        row = {**asdict(cleaned), "metadata": json.dumps(cleaned.metadata, sort_keys=True, ensure_ascii=False)}
        rows[identifier] = {**row, "text_hash": text_hash(cleaned.text)}
        for chunk in chunk_document(cleaned, index.chunking, encoder.token_spans, encoder.token_limit):
            payloads[chunk.chunk_id] = make_payload(cleaned, chunk, text_hash(chunk.embedded_text))
            texts[chunk.chunk_id] = chunk.embedded_text
    ordered = sorted(payloads)
    vectors = [sparse(texts[name]) for name in ordered]
    points = Points(
        {name: payloads[name] for name in ordered},
        hashed_vectors([texts[name] for name in ordered], encoder.dimension),
        [dict(zip(vector.indices, np.float32(vector.values).tolist(), strict=True)) for vector in vectors],
    )
    return State(rows, rejects, {index.name: points})


class Installation(RuleBasedStateMachine):
    """An application that writes, and an installation that runs, dies and is configured anew."""

    databases = count()

    def __init__(self, server: MongoClient[Document]) -> None:
        super().__init__()
        self.server = server
        self.folder = Path(tempfile.mkdtemp())
        self.client = QdrantClient(":memory:")
        self.database = self.server[f"example_{next(self.databases)}"]
        self.application = Application(self.database, "notes")
        self.encoder = HashEncoder()
        self.runs = count()
        self.lost = 0

    def teardown(self) -> None:
        self.client.close()
        self.server.drop_database(self.database.name)
        shutil.rmtree(self.folder)

    @initialize(some=st.lists(bodies, min_size=4, max_size=6), mode=modes)
    def there_are_documents(self, some: list[str], mode: str) -> None:
        self.application.insert(
            note(identifier, body, topic=WORDS[0])
            for identifier, body in zip([ANCHOR, *IDENTIFIERS], some, strict=False)
        )
        self.config = configuration(mode, 32, {"topic": "topic"})

    @rule(some=st.dictionaries(identifiers, bodies, min_size=1, max_size=4), topic=topics)
    def insert_or_replace(self, some: dict[Any, str], topic: str) -> None:
        if present := [identifier for identifier in some if self._has(identifier)]:
            self.application.delete(present)
        self.application.insert(note(identifier, body, topic=topic) for identifier, body in some.items())

    @rule(identifier=identifiers, body=bodies)
    def edit_the_text(self, identifier: Any, body: str) -> None:
        self.application.change(self._present(identifier), body=body)

    @rule(identifier=identifiers, place=st.integers(0, 5), paragraph=st.sampled_from(PARAGRAPHS))
    def edit_one_paragraph(self, identifier: Any, place: int, paragraph: str) -> None:
        present = self._present(identifier)
        body = self.application.collection.find_one({"_id": present})["body"]
        paragraphs = body.split("\n\n") if isinstance(body, str) else [""]
        paragraphs[place % len(paragraphs)] = paragraph
        self.application.change(present, body="\n\n".join(paragraphs))

    @rule(identifier=identifiers, topic=topics)
    def edit_the_metadata(self, identifier: Any, topic: str) -> None:
        self.application.change(self._present(identifier), topic=topic)

    @rule(identifier=identifiers, views=st.integers(0, 3))
    def edit_a_field_that_may_not_be_mapped(self, identifier: Any, views: int) -> None:
        self.application.change(self._present(identifier), views=views)

    @rule(identifier=identifiers, body=st.sampled_from([None, b"\x00bytes", " \n "]))
    def break_it(self, identifier: Any, body: Any) -> None:
        self.application.change(self._present(identifier), body=body)

    @rule(identifier=identifiers, gone=st.booleans())
    def delete_softly_or_bring_back(self, identifier: Any, gone: bool) -> None:
        if self._has(identifier):
            self.application.change(identifier, gone=gone)

    @rule(identifier=identifiers)
    def delete(self, identifier: Any) -> None:
        if self._has(identifier):
            self.application.delete([identifier])

    @rule(mode=modes, window=st.sampled_from([32, 48]), views=st.booleans())
    def configure(self, mode: str, window: int, views: bool) -> None:
        mapped = {"topic": "topic", **({"views": "views"} if views else {})}
        self.config = configuration(mode, window, mapped)

    @rule()
    def run(self) -> None:
        flow = self._flow()
        done = flow.run(self.database)
        self._check(flow)
        assert done.index.report.points == done.index.report.expected_points

    @rule(fault=st.sampled_from(FAULTS))
    def run_and_die(self, fault: Fault) -> None:
        def die() -> None:
            self.lost += TEXTS_PER_BATCH if fault == LOSES_VECTORS else 0
            raise ModelCrashedError

        flow = self._flow()
        try:
            with armed(fault, die):
                flow.run(self.database)
        except ModelCrashedError:
            return
        self._check(flow)  # that moment did not come

    @rule(identifier=identifiers, body=bodies, fault=st.sampled_from(WITHIN_THE_COMMIT))
    def die_while_committing_what_is_taken_back(self, identifier: Any, body: str, fault: Fault) -> None:
        """Nobody will see again what the dead run has seen; and the next run has something else to commit."""
        before = self.application.collection.find_one({"_id": identifier})
        self.insert_or_replace({identifier: body}, WORDS[3])
        self.run_and_die(fault)
        self.application.delete([identifier])
        if before is not None:
            self.application.insert([before])
        self.application.change(ANCHOR, topic=f"topic {next(self.runs)}")
        self.run()

    @precondition(lambda self: (self.folder / "feature_store").exists())
    @rule()
    def run_twice(self) -> None:
        self.run()
        embedded = len(self.encoder.texts)
        flow = self._flow()
        again = flow.run(self.database)
        self._check(flow)
        assert len(self.encoder.texts) == embedded
        assert again.cleaned.version == again.cleaned.previous_version
        assert again.index.report.written == again.index.report.removed == 0

    def _flow(self) -> DrainingFlow:
        flow = DrainingFlow(self.folder, self.config, self.client)
        flow.load_encoder = lambda config: self.encoder
        flow._runs = self.runs
        return flow

    def _check(self, flow: DrainingFlow) -> None:
        expected = model_of(list(self.application.collection.find()), flow.config)
        assert differences(_reduced(read_state(flow), expected), expected) == []
        assert misplaced_duplicates(flow) == []
        assert len(self.encoder.texts) - len(set(self.encoder.texts)) <= self.lost

    def _has(self, identifier: Any) -> bool:
        return self.application.collection.find_one({"_id": identifier}, {"_id": 1}) is not None

    def _present(self, identifier: Any) -> Any:
        """Return a document that is there: this one, or another."""
        if self._has(identifier):
            return identifier
        return self.application.collection.find({}, {"_id": 1}).limit(1)[0]["_id"]


def _reduced(state: State, expected: State) -> State:
    """Return the state with those columns that the model has too."""
    columns = {name for row in expected.documents.values() for name in row} - {"source_hash"}
    documents = {name: {key: row[key] for key in columns} for name, row in state.documents.items()}
    for row in expected.documents.values():
        row.pop("source_hash")
    rejects = {name: {key: row[key] for key in ("source_id", "reason")} for name, row in state.rejects.items()}
    return State(documents, rejects, state.points)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoClient[Document]]:
    with open_warehouse(Settings(data_dir=tmp_path_factory.mktemp("warehouse"), _env_file=None)) as database:
        yield database.client


def test_after_every_run_table_and_index_are_those_of_the_model(server):
    run_state_machine_as_test(
        partial(Installation, server),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
