"""This project: the stages of a run as plain calls (tests/flow.py), from a warehouse into a local Qdrant.

``--documents`` is the data folder of an embedded warehouse. The first argument says how changes are found: by ``hash``
every document is read and compared, as all others do; by ``log`` the change log of the warehouse is followed, which is
what the default configuration comes to here. Most packages are imported when they are needed only; before a load they
are imported beforehand, since the seconds of no system include imports.
"""

import importlib
import sys
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from loguru import logger

from feature_store.start_up import collect_rarely, spare_pandas

# As the command does. qdrant-client is imported as the others do: what the command leaves out would be built in the
# seconds of the work.
# ruff: noqa: E402 - before anything else is imported
collect_rarely()
spare_pandas()

from benchmarks.peers import common
from feature_store.config import PipelineConfig, validate_parameters
from feature_store.encoders import load_encoder
from feature_store.executors.opening import end_processes, kept_between_steps, open_executor
from feature_store.handles import CleanedDocuments, Embeddings
from feature_store.index import open_qdrant
from feature_store.memory import hold_memory_low
from feature_store.settings import Settings
from steps.clean.language import forget_model
from tests.flow import Flow
from tests.stand_in import HashEncoder
from warehouse.connection import open_warehouse

NEEDED = ("steps.clean.clean", "langchain_text_splitters", "qdrant_edge")
WINDOW = 200  # tokens
CATEGORY = {"name": "documents", "collection": "documents", "text": "text", "format": "text"}


class Counted:
    """An encoder whose texts are counted; without a model the vectors are those of the stand-in."""

    def __init__(self, encoder: Any, work: common.Work) -> None:
        self._encoder = encoder
        self._work = work

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self._encoder, name)

    def embed_documents(self, texts: Sequence[str]) -> Any:
        if self._work.stand_in:
            return self._work.embed(texts)
        self._work.count(len(texts))
        return self._encoder.embed_documents(texts)


class Stages(Flow):
    """The stages with what their steps do beside: processes end, and models are let go, when nobody needs them more."""

    def clean(self, *arguments: Any) -> CleanedDocuments:
        cleaned = super().clean(*arguments)
        forget_model()
        return cleaned

    def embed(self, *arguments: Any) -> Embeddings:
        end_processes()
        hold_memory_low()
        return super().embed(*arguments)


def main() -> None:
    capture, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    work = common.begin()
    hold_memory_low()  # as each step of a run does
    logger.remove()
    if not work.imports_late:
        for name in NEEDED:
            importlib.import_module(name)
        load_cleaning()
    config = configuration(capture)
    with (
        open_warehouse(Settings(data_dir=work.documents, _env_file=None)) as database,
        open_qdrant(Settings(data_dir=work.state, _env_file=None)) as client,
        kept_between_steps(),
        open_executor(config.executor) as executor,
    ):
        flow = Stages(work.state, config, client)
        flow.executor = executor
        flow._runs = count(time.time_ns())  # noqa: SLF001 - folders of its own for each start
        stand_in = HashEncoder()
        flow.load_encoder = (lambda _: stand_in) if work.stand_in else load_encoder
        flow.wrap_encoder = lambda encoder: Counted(encoder, work)
        if not work.stand_in:
            load_model(config)
        work.opened()
        done = flow.run(database).index
    work.finish(chunks=done.chunks.new, reused=done.embeddings.reused, removed=done.report.removed)


def configuration(capture: str) -> PipelineConfig:
    """Return the default configuration, but for chunks of one size and without overlap, like those of the others."""
    index = {
        "name": "documents",
        "categories": ["documents"],
        "chunking": {"strategy": "sliding_window", "window": WINDOW, "overlap": 0},
        "encoder": {"model": "sentence-transformers/all-MiniLM-L6-v2"},
    }
    category = {**CATEGORY, "capture": capture}
    return validate_parameters({"categories": [category], "indexes": [index]}, "the benchmark")


def load_cleaning() -> None:
    """Have the libraries that clean, and the model that tells languages apart, loaded before the work begins."""
    from steps.clean.language import detect_language
    from steps.clean.text import clean_text

    detect_language(clean_text("A text of more than twenty letters."))


def load_model(config: PipelineConfig) -> None:
    """Have the model loaded before the work begins, as it is for all others."""
    load_encoder(config.indexes[0].encoder).embed_documents(["a text"])


if __name__ == "__main__":
    main()
