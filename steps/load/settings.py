"""How a Qdrant server keeps a collection: what the configuration says of it, in Qdrant's own words.

`on_disk`, `always_ram` and their like are what servers of every version since 1.16 know; 1.19 calls them `memory`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from loguru import logger
from pydantic import BaseModel
from qdrant_client import QdrantClient, models

from feature_store.encoders import Encoder
from feature_store.index import distance, is_local, retrying, sizes_of, vector_names
from feature_store.index_config import IndexConfig, QuantizationConfig, ServerConfig

_EDGES = 16  # Qdrant's own default of `m`
_STRICT = models.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False, unindexed_filtering_update=False)


def creation_options(index: IndexConfig, encoder: Encoder) -> dict[str, Any]:
    """Return what `create_collection` is called with: vectors of each size, and how a server keeps them."""
    server = index.server
    vectors = models.VectorParams(
        size=encoder.dimension, distance=distance(encoder.similarity), on_disk=server.vectors_on_disk
    )
    names = _vector_names(index)
    options = {
        "vectors_config": {dense: vectors for dense, _ in names},
        "sparse_vectors_config": {sparse: _keywords(server) for _, sparse in names},
        "shard_number": server.shards,
        "replication_factor": server.replicas,
        "write_consistency_factor": server.write_consistency,
        "on_disk_payload": server.payload_on_disk,
        "hnsw_config": _graph(server),
        "quantization_config": _quantization(server.quantization),
        "strict_mode_config": _STRICT if server.strict_mode else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def update_settings(
    client: QdrantClient, collection: str, config: models.CollectionConfig, index: IndexConfig, previous: ServerConfig
) -> None:
    """Give a collection of a server the settings that it lacks, and say which ones it cannot get any more.

    ``config`` is how the server keeps it, ``previous`` the settings that a run gave it last. What the configuration
    leaves open stays as it is. An embedded Qdrant is left alone.
    """
    if is_local(client):
        return
    changes = required_changes(config, index, previous)
    if changes:
        logger.info("{}: the server's settings change: {}", collection, ", ".join(changes))
        retrying()(client.update_collection, collection, **changes)
    _warn_of_what_stays(collection, config.params, index.server)


def required_changes(config: models.CollectionConfig, index: IndexConfig, previous: ServerConfig) -> dict[str, Any]:
    """Return what `update_collection` has to be called with; nothing where all is as configured."""
    server = index.server
    params = config.params
    changes = {
        "vectors_config": _moved_vectors(params.vectors, index),
        "sparse_vectors_config": _moved_keywords(params.sparse_vectors, index),
        "collection_params": _changed_params(params, server),
        "hnsw_config": _changed_graph(config.hnsw_config, server, previous),
        "quantization_config": _changed_quantization(config.quantization_config, server, previous),
        "strict_mode_config": _changed_strictness(config.strict_mode_config, server, previous),
    }
    return {name: change for name, change in changes.items() if change}


def tell_what_has_no_effect(index: IndexConfig) -> None:
    """Say once which settings of the configuration mean nothing to an embedded Qdrant."""
    given = index.server.given()
    if given:
        logger.info(
            "{}: without effect in the embedded Qdrant, kept for a server: {}",
            index.name, ", ".join(f"server.{name}" for name in given),
        )  # fmt: skip


def _vector_names(index: IndexConfig) -> list[tuple[str, str]]:
    return [vector_names(size) for size in sizes_of(index.chunking)]


def _keywords(server: ServerConfig) -> models.SparseVectorParams:
    kept = models.SparseIndexParams(on_disk=server.vectors_on_disk)
    return models.SparseVectorParams(modifier=models.Modifier.IDF, index=kept)


def _graph(server: ServerConfig) -> models.HnswConfigDiff | None:
    """Return how the graph is built; for tenants one each, and none for all of them together.

    So does Qdrant advise it: https://qdrant.tech/documentation/manage-data/multitenancy/ (m = 0, payload_m = 16).
    """
    hnsw = server.hnsw
    given = {"m": hnsw.edges, "ef_construct": hnsw.build_candidates, "on_disk": hnsw.on_disk}
    if server.tenant is not None:
        given |= {"m": 0, "payload_m": hnsw.edges or _EDGES}
    given = {name: value for name, value in given.items() if value is not None}
    return models.HnswConfigDiff(**given) if given else None


def _changed_graph(
    present: models.HnswConfig, server: ServerConfig, previous: ServerConfig
) -> models.HnswConfigDiff | None:
    wanted = _graph(server)
    if previous.tenant is not None and server.tenant is None:
        edges = server.hnsw.edges or _EDGES
        wanted = (wanted or models.HnswConfigDiff()).model_copy(update={"m": edges, "payload_m": edges})
    return None if wanted is None or _is_so(wanted, present) else wanted


def _quantization(wanted: QuantizationConfig | None) -> models.ScalarQuantization | models.BinaryQuantization | None:
    if wanted is None:
        return None
    if wanted.kind == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=wanted.always_in_memory))
    scalar = models.ScalarQuantizationConfig(
        type=models.ScalarType.INT8, quantile=wanted.quantile, always_ram=wanted.always_in_memory
    )
    return models.ScalarQuantization(scalar=scalar)


def _changed_quantization(
    present: models.QuantizationConfig | None, server: ServerConfig, previous: ServerConfig
) -> models.QuantizationConfigDiff | None:
    wanted = _quantization(server.quantization)
    if wanted is not None:
        return None if _is_so(wanted, present) else wanted
    ours = present is not None and previous.quantization is not None
    return models.Disabled.DISABLED if ours else None


def _changed_strictness(
    present: models.StrictModeConfigOutput | None, server: ServerConfig, previous: ServerConfig
) -> models.StrictModeConfig | None:
    if not server.strict_mode and not previous.strict_mode:
        return None
    wanted = _STRICT if server.strict_mode else models.StrictModeConfig(enabled=False)
    return None if _is_so(wanted, present) else wanted


def _changed_params(params: models.CollectionParams, server: ServerConfig) -> models.CollectionParamsDiff | None:
    given: dict[str, Any] = {}
    if server.write_consistency not in {None, params.write_consistency_factor}:
        given["write_consistency_factor"] = server.write_consistency
    if server.payload_on_disk != (params.on_disk_payload is not False):
        given["on_disk_payload"] = server.payload_on_disk
    return models.CollectionParamsDiff(**given) if given else None


def _moved_vectors(present: models.VectorsConfig | None, index: IndexConfig) -> dict[str, models.VectorParamsDiff]:
    kept = present if isinstance(present, Mapping) else {}
    wanted = index.server.vectors_on_disk
    moved = [dense for dense, _ in _vector_names(index) if dense in kept and _is_on_disk(kept[dense]) != wanted]
    return {name: models.VectorParamsDiff(on_disk=wanted) for name in moved}


def _moved_keywords(
    present: Mapping[str, models.SparseVectorParams] | None, index: IndexConfig
) -> dict[str, models.SparseVectorParams]:
    kept = present or {}
    wanted = index.server.vectors_on_disk
    moved = [name for _, name in _vector_names(index) if name in kept and _is_on_disk(kept[name].index) != wanted]
    return {name: _keywords(index.server) for name in moved}


def _is_on_disk(kept: models.VectorParams | models.SparseIndexParams | None) -> bool:
    if kept is None:
        return False
    return kept.memory == models.Memory.COLD if kept.memory is not None else bool(kept.on_disk)


def _is_so(wanted: BaseModel, present: BaseModel | None) -> bool:
    """Return whether all that ``wanted`` says holds already; what is not said of ``present`` is off."""
    said = {} if present is None else present.model_dump(exclude_none=True)
    return _holds(wanted.model_dump(exclude_none=True), said)


def _holds(wanted: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            if not _holds(value, said.get(name, {})):
                return False
        elif said.get(name, False if value is False else None) != value:
            return False
    return True


def _warn_of_what_stays(collection: str, params: models.CollectionParams, server: ServerConfig) -> None:
    fixed: Sequence[tuple[str, int | None, int | None]] = (
        ("shards", server.shards, params.shard_number),
        ("replicas", server.replicas, params.replication_factor),
    )
    for name, wanted, present in fixed:
        if wanted not in {None, present}:
            logger.warning(
                "server.{} is {}, but {} was made with {}, which stays. For {} make a new collection: give the index "
                "another name, or delete this one and run again; nothing is embedded again.",
                name, wanted, collection, present, wanted,
            )  # fmt: skip
