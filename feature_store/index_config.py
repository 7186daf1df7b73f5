"""The configuration of an index: how documents are chunked, embedded and kept in Qdrant, and when the index serves."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from feature_store.strict import Name, Strict

Window = Annotated[int, Field(ge=8, le=100_000)]
Overlap = Annotated[int, Field(ge=0)]


class WindowSize(Strict):
    """A window and its overlap, in tokens of the encoder's own tokenizer."""

    window: Window
    overlap: Overlap = 0

    @model_validator(mode="after")
    def overlap_is_at_most_half(self) -> Self:
        if self.overlap * 2 > self.window:
            raise ValueError(
                f"overlap {self.overlap} is more than half of window {self.window}; choose a smaller overlap"
            )
        return self


class SlidingWindowConfig(WindowSize):
    """Sliding-window chunks; ``categories`` overrides the size for single categories.

    ``heading_prefix`` puts the heading path in front of the text that is embedded; the chunk's own text stays as it is.
    """

    strategy: Literal["sliding_window"] = "sliding_window"
    window: Window = 200
    overlap: Overlap = 40
    categories: dict[Name, WindowSize] = Field(default_factory=dict)
    heading_prefix: bool = False

    def size_for(self, category: str) -> WindowSize:
        """Return the window and overlap that hold for a category."""
        return self.categories.get(category, WindowSize(window=self.window, overlap=self.overlap))

    def windows(self) -> list[int]:
        """Return the windows that are embedded, in tokens."""
        return [self.window, *(size.window for size in self.categories.values())]


class ParentConfig(Strict):
    """What a reader gets: windows of ``window`` tokens, or whole sections of at most that many.

    A longer section is cut into windows. The encoder never sees a parent, so its limit does not bound them.
    """

    unit: Literal["window", "section"] = "window"
    window: Window = 200


class SmallToBigConfig(Strict):
    """Small children are embedded and found; the parent that they tile is what a reader gets."""

    strategy: Literal["small_to_big"]
    child: WindowSize = WindowSize(window=64)
    parent: ParentConfig = ParentConfig()
    heading_prefix: bool = False

    @model_validator(mode="after")
    def children_are_smaller(self) -> Self:
        if self.child.window > self.parent.window:
            raise ValueError(
                f"child.window {self.child.window} is more than parent.window {self.parent.window}; exchange them"
            )
        return self

    def windows(self) -> list[int]:
        """Return the windows that are embedded, in tokens."""
        return [self.child.window]


class MultiSizeConfig(Strict):
    """Windows of several sizes over the same documents, searched together; each size has vectors of its own name."""

    strategy: Literal["multi_size"]
    sizes: Annotated[tuple[WindowSize, ...], Field(min_length=2, max_length=8)] = (
        WindowSize(window=200, overlap=100),
        WindowSize(window=48),
    )
    heading_prefix: bool = False

    @model_validator(mode="after")
    def sizes_differ(self) -> Self:
        if len(set(self.windows())) < len(self.sizes):
            raise ValueError(f"`sizes` names a window twice: {self.windows()}; give each size once")
        return self

    def windows(self) -> list[int]:
        """Return the windows that are embedded, in tokens."""
        return [size.window for size in self.sizes]


def _strategy(value: Any) -> str:
    given = value.get("strategy", "sliding_window") if isinstance(value, dict) else getattr(value, "strategy", "")
    return str(given)


ChunkingConfig = Annotated[
    Annotated[SlidingWindowConfig, Tag("sliding_window")]
    | Annotated[SmallToBigConfig, Tag("small_to_big")]
    | Annotated[MultiSizeConfig, Tag("multi_size")],
    Discriminator(
        _strategy,
        custom_error_type="strategy",
        custom_error_message="a mapping is needed whose `strategy` is sliding_window, small_to_big or multi_size",
    ),
]
STRATEGIES = ("sliding_window", "small_to_big", "multi_size")


class EncoderConfig(Strict):
    """The embedding model: ``model`` is a name on the hub or a folder; prompts, limit and normalisation are its own.

    ``precision`` ``auto`` takes bfloat16 where the hardware has it, else float32. ``batch_tokens`` is how many tokens a
    forward pass takes at most (what the hardware likes, if it is None), ``batch_size`` how many texts (any number).
    ``trust_remote_code`` is for models that bring their own code, such as gte-large.
    """

    model: Annotated[str, Field(min_length=1)] = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_tokens: Annotated[int, Field(ge=16, le=1_000_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    max_tokens: Annotated[int, Field(ge=16)] | None = None
    trust_remote_code: bool = False


class SparseConfig(Strict):
    """BM25 as Qdrant computes it; ``language`` chooses stemmer and stop words."""

    language: str = "english"
    average_length: Annotated[float, Field(gt=0)] = 256.0


class HnswConfig(Strict):
    """The graph that a server searches; what is None stays as the server's own default.

    ``edges`` is Qdrant's ``m``, ``build_candidates`` its ``ef_construct``.
    """

    edges: Annotated[int, Field(ge=0, le=2048)] | None = None
    build_candidates: Annotated[int, Field(ge=4, le=10_000)] | None = None
    on_disk: bool | None = None


class QuantizationConfig(Strict):
    """Smaller copies of the vectors, to search in memory; the best ``oversampling`` times k are scored again exactly.

    ``scalar`` takes a quarter of the memory, ``binary`` a 32nd (for models of 1024 dimensions and more).
    """

    kind: Literal["scalar", "binary"]
    quantile: Annotated[float, Field(ge=0.5, le=1)] | None = None
    always_in_memory: bool = True
    rescore: bool = True
    oversampling: Annotated[float, Field(ge=1, le=100)] = 2.0

    @model_validator(mode="after")
    def quantile_is_for_scalars(self) -> Self:
        if self.quantile is not None and self.kind != "scalar":
            raise ValueError("`quantile` means nothing to binary quantization; remove it")
        return self


class ServerConfig(Strict):
    """How a Qdrant server keeps the collection. None of it changes what is found; an embedded Qdrant ignores it all.

    ``shards`` and ``replicas`` hold from a collection's making on. ``tenant`` is a payload field by which every search
    filters: Qdrant keeps the points of a tenant together. ``strict_mode`` lets the server refuse filters on fields
    without an index. From ``bulk_load_from`` new points on the graph is built after the load, not during it.
    """

    shards: Annotated[int, Field(ge=1, le=1024)] | None = None
    replicas: Annotated[int, Field(ge=1, le=64)] | None = None
    write_consistency: Annotated[int, Field(ge=1, le=64)] | None = None
    vectors_on_disk: bool = False
    payload_on_disk: bool = True
    hnsw: HnswConfig = HnswConfig()
    quantization: QuantizationConfig | None = None
    tenant: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    strict_mode: bool = False
    bulk_load_from: Annotated[int, Field(ge=1)] = 50_000
    snapshot_after_promotion: bool = False

    @model_validator(mode="after")
    def there_are_replicas_to_confirm(self) -> Self:
        if self.replicas is not None and (self.write_consistency or 1) > self.replicas:
            raise ValueError(
                f"write_consistency {self.write_consistency} is more than replicas {self.replicas}; "
                f"choose at most {self.replicas}"
            )
        return self

    def given(self) -> list[str]:
        """Return the names of the settings that are not left at their defaults, such as ``hnsw.edges``."""
        return sorted(_leaves(self.model_dump(exclude_defaults=True)))


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


class PromotionConfig(Strict):
    """When a newly built collection takes the place of the one that serves: after its gate.

    ``automatic`` moves the alias at the end of the run that built it, ``manual`` waits for `feature-pipeline promote`.
    The gate compares ``sample`` points exactly, and searches ``golden_queries`` (JSON lines) in both collections:
    recall@10 and nDCG@10 of the new one may be lower by ``tolerance`` at most.
    """

    mode: Literal["automatic", "manual"] = "automatic"
    golden_queries: Annotated[str, Field(min_length=1)] | None = None
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.02
    sample: Annotated[int, Field(ge=1, le=10_000)] = 64


class RetrievalConfig(Strict):
    """What a search does unless it is told otherwise; it is written into the collection for the retriever to read.

    ``alpha`` weighs dense against keywords: 0 is BM25 alone, 1 the vectors alone. ``candidates`` is how many the
    retriever fuses of each kind. ``budget`` is the most tokens of a whole context. Where the sizes of an index vote,
    a context ends before that at what scores below ``threshold`` times the best (docs/retrieval.md has the figures).
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    candidates: Annotated[int, Field(ge=1, le=10_000)] = 100
    budget: Annotated[int, Field(ge=1)] = 900
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7


class IndexConfig(Strict):
    """One Qdrant index: which categories, how they are chunked, by which encoder they are embedded, how it serves."""

    name: Name
    categories: Annotated[list[Name], Field(min_length=1)]
    chunking: ChunkingConfig = SlidingWindowConfig()
    encoder: EncoderConfig = EncoderConfig()
    sparse: SparseConfig = SparseConfig()
    upsert_batch: Annotated[int, Field(ge=1, le=2048)] = 128
    server: ServerConfig = ServerConfig()
    promotion: PromotionConfig = PromotionConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
