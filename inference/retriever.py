"""Searching an index: everything that is needed to embed a query is read from the collection itself."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self, TypeVar, Unpack
from weakref import finalize

from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from feature_store.encoders import Encoder, load_encoder
from feature_store.errors import ConfigurationError
from feature_store.index import IndexMetadata, open_qdrant
from feature_store.index_config import EncoderConfig
from feature_store.settings import load_settings
from inference.context import find_contexts
from inference.merging import merge, passages_of
from inference.neighbours import with_neighbours
from inference.options import ContextOptions, Search, SearchOptions
from inference.ranking import rank
from inference.results import Context, SearchResult
from inference.snapshot import Serving, Snapshot, is_gone

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Retriever:
    """Hybrid search over the collection that serves an index; may be used by several threads.

    Each search takes one snapshot of what serves and asks that collection only. When another one was promoted, the
    retriever follows within ``refresh_seconds``, and at once when the one it knew is gone: no search fails of it, and
    none mixes two collections.
    """

    client: QdrantClient
    index: str
    _serving: Serving
    _closing: ExitStack = field(default_factory=ExitStack, repr=False)

    @classmethod
    def from_index(
        cls,
        index: str,
        client: QdrantClient | None = None,
        encoder: EncoderConfig | Encoder | None = None,
        collection: str | None = None,
        refresh_seconds: float = 5.0,
    ) -> Self:
        """Return a retriever for an index; its model is loaded with the first text, or by ``retriever.encoder.load()``.

        Args:
            index: The name of the index, or the alias of a rebuilt one.
            client: Who asks Qdrant; without it, one is opened as the environment says, until ``close``.
            encoder: Where the model is on this machine, and whether its own code may run, or the loaded model itself;
                without it, the model's name is read from the collection.
            collection: A physical collection that need not serve; without it, the one that serves.
            refresh_seconds: How long another collection may have served before the retriever looks.

        Raises:
            ConfigurationError: if the index does not serve, the model here is not the one that made its vectors, or its
                payload is of a version that this code does not know.
        """
        closing = ExitStack()
        opened = client or closing.enter_context(open_qdrant(load_settings()))
        try:
            serving = Serving(opened, index, encoder, load_encoder, collection, refresh_seconds)
        except BaseException:
            closing.close()
            raise
        retriever = cls(opened, index, serving, closing)
        finalize(retriever, closing.close)  # for who does not close it: at the latest when the process ends
        return retriever

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client, if it was opened here."""
        self._closing.close()

    @property
    def collection(self) -> str:
        """The collection that was searched last, or will be first."""
        return self._serving.current().collection

    @property
    def metadata(self) -> IndexMetadata:
        """What that collection says of itself."""
        return self._serving.current().metadata

    @property
    def encoder(self) -> Encoder:
        """The model that made its vectors."""
        return self._serving.current().encoder

    def refresh(self) -> None:
        """Look now which collection serves; a service may do so from a thread of its own.

        Raises:
            ConfigurationError: as `from_index` does; what was searched before still is.
        """
        self._serving.refresh()

    def search(self, query: str, k: int = 3, **options: Unpack[SearchOptions]) -> list[SearchResult]:
        """Return the ``k`` best results for ``query``, best first.

        They are fewer where the index has no more, or neighbours make one of several.
        Results are chunks, or the parents of the best children; `SearchOptions` says what can be asked for.

        Raises:
            ConfigurationError: for an empty query, a ``k`` below 1, or an option that means nothing.
        """
        return self.search_batch([query], k, **options)[0]

    def search_batch(
        self, queries: Sequence[str], k: int = 3, **options: Unpack[SearchOptions]
    ) -> list[list[SearchResult]]:
        """Return what `search` does for each of several queries: embedded at once, asked for in one request.

        Raises:
            ConfigurationError: as `search` does.
        """
        search = _checked(queries, options)
        if k < 1:
            raise ConfigurationError(f"k is {k}.", "Ask for at least one result.")
        if search.threshold is not None:
            raise ConfigurationError("Only a context has a threshold.", "Give min_score, or ask for a context.")

        def found(snapshot: Snapshot) -> list[list[SearchResult]]:
            rankings = rank(self.client, snapshot, queries, search, k)
            if not search.neighbours:
                return rankings
            passages = [passages_of(results) for results in rankings]
            widened = with_neighbours(self.client, snapshot, passages, search.neighbours)
            return [[passage.to_result() for passage in merge(some)] for some in widened]

        return self._served(found) if queries else []

    def context(self, query: str, budget: int | None = None, **options: Unpack[ContextOptions]) -> Context:
        """Return the best passages for ``query`` of at most ``budget`` tokens in all, in reading order.

        Without a budget, the index's own holds. Overlapping and adjacent results of a document are one passage; a
        text that several documents have is given from the best of them. Where
        the index has several sizes, passages are what these agree on (see `inference.voting`), unless a reranker,
        reciprocal ranks, diversity or neighbours rule; then, and in other indexes, they are the best chunks or parents.

        Raises:
            ConfigurationError: for an empty query, a budget below 1, or an option that means nothing.
        """
        return self.context_batch([query], budget, **options)[0]

    def context_batch(
        self, queries: Sequence[str], budget: int | None = None, **options: Unpack[ContextOptions]
    ) -> list[Context]:
        """Return what `context` does for each of several queries: embedded at once, asked for in one request.

        Raises:
            ConfigurationError: as `context` does.
        """
        search = _checked(queries, options)
        if budget is not None and budget < 1:
            raise ConfigurationError(f"The budget is {budget}.", "Give at least one token.")

        def found(snapshot: Snapshot) -> list[Context]:
            most = snapshot.metadata.retrieval.budget if budget is None else budget
            return find_contexts(self.client, snapshot, queries, search, most)

        return self._served(found) if queries else []

    async def search_async(self, query: str, k: int = 3, **options: Unpack[SearchOptions]) -> list[SearchResult]:
        """Search without blocking the event loop, in a thread: the model works in this process either way."""
        return await asyncio.to_thread(self.search, query, k, **options)

    async def context_async(self, query: str, budget: int | None = None, **options: Unpack[ContextOptions]) -> Context:
        """Make a context without blocking the event loop, in a thread: the model works in this process either way."""
        return await asyncio.to_thread(self.context, query, budget, **options)

    def _served(self, work: Callable[[Snapshot], _Found]) -> _Found:
        """Return what the work gives with the snapshot that serves, begun anew if its collection goes meanwhile."""
        snapshot = self._serving.current()
        while True:
            try:
                return work(snapshot)
            except (UnexpectedResponse, ValueError) as error:
                if not is_gone(error, snapshot.collection):
                    raise
                following = self._serving.after(snapshot)
                if following.collection == snapshot.collection:
                    raise
                snapshot = following


def _checked(queries: Sequence[str], options: SearchOptions | ContextOptions) -> Search:
    if isinstance(queries, str):
        raise ConfigurationError("A batch is a list of queries, not one.", "Call search, or give a list.")
    if any(not query.strip() for query in queries):
        raise ConfigurationError("The query is empty.", "Ask for something.")
    return Search(**options)
