"""The embedding models: described by what matters to the vectors they make, loaded when the first text is embedded.

Dense vectors come from sentence-transformers models, sparse ones from Qdrant's own BM25. Prompts, token limit,
similarity and normalisation are the model's own.
"""

from feature_store.encoders.description import Description, TokenSpans
from feature_store.encoders.encoder import Encoder, load_encoder
from feature_store.encoders.files import PACKAGED_MODEL, packaged_model
from feature_store.encoders.operations import Dimensions, floating_point_operations, measure_gemm
from feature_store.encoders.sparse import SparseVector, load_sparse_encoder

__all__ = [
    "PACKAGED_MODEL",
    "Description",
    "Dimensions",
    "Encoder",
    "SparseVector",
    "TokenSpans",
    "floating_point_operations",
    "load_encoder",
    "load_sparse_encoder",
    "measure_gemm",
    "packaged_model",
]
