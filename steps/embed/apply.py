"""Embedding the chunks of an index: only texts without a vector go to the model, which never waits for anything else.

While it works, the texts after the next are looked up, and what has its vectors is written. At most a few parts are on
their way at once.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from feature_store.encoders import Encoder
from feature_store.errors import TerminalError
from feature_store.executors.here import HERE
from feature_store.executors.interface import Encoded, EncoderPool, Executor, LoadEncoder
from feature_store.handles import Chunks, Embeddings
from feature_store.parts import Folder, Part, list_parts
from feature_store.progress import Advance, progress
from feature_store.tables import batches_of
from feature_store.vectors import VectorTable
from steps.embed.map import draw_map
from steps.embed.part import EmbedSparse, OpenPart, finish_part, open_part

TEXTS_PER_BATCH = 256
BATCHES_PER_ROUND = 4
BATCHES_PER_COMMIT = 16
SECONDS_PER_COMMIT = 1.0
PARTS_PER_ROUND = 8
PARTS_TO_WRITE = 16
COMMITS_PER_MAINTENANCE = 512


def embed_chunks(
    chunks: Chunks,
    encoder: Encoder,
    sparse: EmbedSparse,
    vectors: VectorTable,
    executor: Executor = HERE,
    load: LoadEncoder | None = None,
) -> Embeddings:
    """Embed all parts ``chunks`` of an index: those that its collection lacks.

    Writes a part ``embedded`` of the same number for each. New vectors are stored as the model gives them, but no more
    often than every second unless there are very many: so a crash loses the work of that second, and what is in flight.
    ``load`` makes the encoder again where the executor's encoders are.

    Returns what was embedded and what was reused.

    Raises:
        TerminalError: if the model gives a vector that is not finite.
    """
    with ExitStack() as stack:
        advance = stack.enter_context(progress(f"embedding for {chunks.index}", chunks.new, "chunk"))
        pool = stack.enter_context(executor.encoders(encoder, load or (lambda: encoder)))
        work = _Embedding(chunks.folder, encoder.name, sparse, vectors, pool, advance)
        stack.callback(work.close)
        work.run(list_parts(chunks.folder, "chunks"))
    if work.embedded:
        vectors.maintain()
    return Embeddings(
        folder=chunks.folder,
        index=chunks.index,
        collection=chunks.collection,
        since=chunks.since,
        version=chunks.version,
        record=chunks.record,
        model=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        precisions=sorted(work.precisions),
        chunks=work.chunks,
        embedded=work.embedded,
        reused=work.reused,
        tokens=work.tokens,
        operations=work.operations,
        samples=draw_map(list_parts(chunks.folder, "embedded"), vectors),
    )


class _Batch(NamedTuple):
    hashes: list[str]
    texts: list[str]


class _Vectors(NamedTuple):
    hashes: list[str]
    encoded: Encoded


class _Embedding:
    """The work on one index. One thread looks up, one writes; all is decided in the thread that calls `run`."""

    def __init__(
        self,
        folder: Folder,
        model: str,
        sparse: EmbedSparse,
        vectors: VectorTable,
        pool: EncoderPool,
        advance: Advance,
    ) -> None:
        self.chunks = self.embedded = self.reused = self.tokens = self.operations = 0
        self.precisions: set[str] = set()
        self._folder, self._model, self._sparse, self._vectors = folder, model, sparse, vectors
        self._pool, self._advance = pool, advance
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="embed-look-up")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="embed-write")
        self._has_more = True
        self._awaited: set[str] = set()  # hashes: the reader adds to it, `run` takes away
        self._waiting: dict[str, list[OpenPart]] = {}
        self._queue: deque[_Batch] = deque()
        self._reading: Future[list[OpenPart] | None] | None = None
        self._encoding: dict[Future[Encoded], _Batch] = {}
        self._unsaved: list[_Vectors] = []
        self._committed_at = time.monotonic()
        self._writing: set[Future[None]] = set()
        self._commits = 0

    def run(self, parts: Sequence[Part]) -> None:
        """Embed and write all the parts; the first failure of anything is raised."""
        rounds = self._rounds(parts)
        try:
            while (under_way := self._keep_busy(rounds)) or self._unsaved:
                if self._is_time_to_save():
                    self._save()
                    continue
                patience = self._seconds_to_commit() if self._unsaved else None
                done, _ = wait(under_way, patience, FIRST_COMPLETED)
                # What the model gave is stored, even if something else failed at the same time.
                for future in sorted(done, key=lambda future: future.exception() is not None):
                    self._settle(future)
        finally:
            if self._unsaved:
                self._save()

    def close(self) -> None:
        """Wait for the threads; what they have not begun is dropped."""
        for thread in (self._reader, self._writer):
            thread.shutdown(cancel_futures=True)

    def _rounds(self, parts: Sequence[Part]) -> Iterator[list[OpenPart]]:
        """Yield parts, looked up, that together have enough for the model to do: in the reader's thread."""
        opened: list[OpenPart] = []
        for part in parts:
            opened.append(open_part(part, self._vectors, self._awaited))
            self._awaited |= opened[-1].missing.keys()
            missing = sum(len(each.missing) for each in opened)
            if missing >= BATCHES_PER_ROUND * TEXTS_PER_BATCH or len(opened) == PARTS_PER_ROUND:
                yield opened
                opened = []
        if opened:
            yield opened

    def _keep_busy(self, rounds: Iterator[list[OpenPart]]) -> set[Future[Any]]:
        """Start what can be started; return all that is under way."""
        while self._queue and len(self._encoding) < self._pool.width:
            batch = self._queue.popleft()
            self._encoding[self._pool.submit(batch.texts)] = batch
        is_wanted = self._has_more and len(self._queue) <= self._pool.width and len(self._writing) < PARTS_TO_WRITE
        if self._reading is None and is_wanted:
            self._reading = self._reader.submit(next, rounds, None)
        return {*self._encoding, *self._writing, *([self._reading] if self._reading else [])}

    def _settle(self, future: Future[Any]) -> None:
        if future in self._encoding:
            self._accept(self._encoding.pop(future), future.result())
        elif future is self._reading:
            self._reading = None
            self._take(future.result())
        else:
            self._writing.discard(future)
            future.result()

    def _take(self, opened: list[OpenPart] | None) -> None:
        """Queue the missing texts of parts that were looked up, the longest first; None is the end."""
        if opened is None:
            self._has_more = False
            return
        missing = sorted((item for part in opened for item in part.missing.items()), key=lambda item: -len(item[1]))
        for some in batches_of(missing, TEXTS_PER_BATCH):
            self._queue.append(_Batch([text_hash for text_hash, _ in some], [text for _, text in some]))
        for part in opened:
            part.lacking &= self._awaited  # the others were stored since
            for text_hash in part.lacking:
                self._waiting.setdefault(text_hash, []).append(part)
            self.precisions |= part.precisions
            self.chunks += part.chunks.total()
            self.reused += len(part.chunks) - len(part.missing)
            self._advance(sum(count for text_hash, count in part.chunks.items() if text_hash not in part.lacking))
            part.missing = {}
            self._write_if_complete(part)

    def _accept(self, batch: _Batch, encoded: Encoded) -> None:
        """Take what the model gave for a batch."""
        unusable = np.flatnonzero(~np.isfinite(encoded.matrix).all(axis=1))
        if len(unusable):
            raise TerminalError(
                f"The model {self._model} gave no finite vector for the text with hash {batch.hashes[unusable[0]]}.",
                "Set encoder.precision to float32.",
            )
        self._unsaved.append(_Vectors(batch.hashes, encoded))
        self.precisions.add(encoded.precision)
        self.embedded += len(batch.hashes)
        self.tokens += encoded.tokens
        self.operations += encoded.operations

    def _is_time_to_save(self) -> bool:
        # A commit takes about as long whatever it holds, and a GPU fills many in a second.
        nothing_comes = not (self._encoding or self._reading)
        are_many = len(self._unsaved) >= BATCHES_PER_COMMIT
        return bool(self._unsaved) and (nothing_comes or are_many or self._seconds_to_commit() == 0)

    def _seconds_to_commit(self) -> float:
        return max(0.0, self._committed_at + SECONDS_PER_COMMIT - time.monotonic())

    def _save(self) -> None:
        """Commit the new vectors, and hand them to the parts that wait for them."""
        saved, self._unsaved = self._unsaved, []
        for precision, alike in groupby(saved, key=lambda vectors: vectors.encoded.precision):
            some = list(alike)
            matrix = np.concatenate([vectors.encoded.matrix for vectors in some])
            self._vectors.append([text_hash for vectors in some for text_hash in vectors.hashes], matrix, precision)
        for hashes, encoded in saved:
            self._hand_out(hashes, encoded)
        self._committed_at = time.monotonic()
        self._commits += 1
        if self._commits % COMMITS_PER_MAINTENANCE == 0:
            self._vectors.merge_small_fragments()

    def _hand_out(self, hashes: Sequence[str], encoded: Encoded) -> None:
        self._awaited.difference_update(hashes)
        chunks = 0
        for text_hash, vector in zip(hashes, encoded.matrix, strict=True):
            for part in self._waiting.pop(text_hash, []):
                part.vectors[text_hash] = vector
                part.lacking.discard(text_hash)
                chunks += part.chunks[text_hash]
                self._write_if_complete(part)
        self._advance(chunks)

    def _write_if_complete(self, part: OpenPart) -> None:
        if not part.lacking:
            self._writing.add(self._writer.submit(finish_part, part, self._sparse, self._vectors, self._folder))
