"""What people use: langchain's recursive splitter, and the nearest vectors of the same model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_store.encoders import Encoder
from inference.evaluation.spans import Span


@dataclass(frozen=True)
class Baseline:
    """Chunks of texts, with a vector for each."""

    encoder: Encoder
    chunks: list[Span]
    texts: list[str]
    vectors: npt.NDArray[np.float32]

    def search(self, queries: Sequence[str], k: int) -> list[list[Span]]:
        """Return the ``k`` nearest chunks of each query, the best first."""
        similar = self.encoder.embed_queries(queries) @ self.vectors.T
        order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        return [[self.chunks[place] for place in places] for places in order]


def split(documents: Mapping[str, str], encoder: Encoder, tokens: int) -> Baseline:
    """Cut each text into chunks of at most so many tokens of the model, without overlap, and embed them."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=tokens,
        chunk_overlap=0,
        length_function=lambda text: len(encoder.token_spans(text)),
        add_start_index=True,
    )
    chunks, texts = [], []
    for name, text in documents.items():
        for made in splitter.create_documents([text]):
            start = made.metadata["start_index"]
            chunks.append(Span(name, start, start + len(made.page_content)))
            texts.append(made.page_content)
    return Baseline(encoder, chunks, texts, encoder.embed_documents(texts))
