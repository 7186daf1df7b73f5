"""Running the pipeline in micro-batches for as long as nobody says stop."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

from feature_store.config import PipelineConfig
from feature_store.settings import Settings
from feature_store.store import open_feature_store
from pipelines.follow import WatchStatus, follow
from pipelines.run import run_feature_pipeline
from pipelines.waiting import waiting_categories
from steps.report.summary import RunSummary
from warehouse.connection import open_warehouse
from warehouse.embedded import embedded_server


def watch_warehouse(
    config_path: Path,
    config: PipelineConfig,
    settings: Settings,
    every: float,
    tell: Callable[[WatchStatus, float], None],
) -> WatchStatus:
    """Follow the warehouse until SIGTERM or Ctrl-C; return what was done.

    The first batch always runs: indexes may lag behind the feature store, or not be built yet.

    Raises:
        PipelineError: one that does not pass by waiting.
    """
    stop, batch = Event(), _Batch(config_path, config, settings)
    with ExitStack() as stack:
        if settings.mongo_uri is None:
            # An embedded server forgets its log of changes when its last user leaves.
            stack.enter_context(embedded_server(settings))
        stack.enter_context(_stopped_by_signals(stop))
        return follow(batch.run, stop, every, tell)


class _Batch:
    """One attempt after the other: a run where changes wait, and else nothing."""

    def __init__(self, config_path: Path, config: PipelineConfig, settings: Settings) -> None:
        self.config_path = config_path
        self.config = config
        self.settings = settings
        self.has_run = False

    def run(self) -> RunSummary | None:
        """Run the pipeline if something waits; return its summary, or None."""
        with open_warehouse(self.settings) as database:
            store = open_feature_store(self.settings.feature_store_folder)
            if self.has_run and not any(waiting_categories(database, store, self.config)):
                return None
            self.has_run = False  # until it has ended well: what it committed may wait to be loaded
            summary = run_feature_pipeline(self.config_path, self.settings, self.config.options)
        self.has_run = True
        return summary


@contextmanager
def _stopped_by_signals(stop: Event) -> Iterator[None]:
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
