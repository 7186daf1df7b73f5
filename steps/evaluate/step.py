"""The ZenML step that says how good an index is at finding."""

import time
from typing import Annotated

from loguru import logger
from zenml import ArtifactConfig, step

from feature_store.handles import RetrievalEvaluation
from feature_store.index import open_qdrant
from feature_store.materializers import HandleMaterializer
from inference.evaluation.config import EvaluationConfig
from inference.evaluation.evaluate import evaluate_index
from steps.evaluate.handle import to_handle
from steps.runtime import start_step


@step(enable_cache=False, output_materializers=HandleMaterializer)
def evaluate_retrieval(
    evaluation: EvaluationConfig,
) -> Annotated[RetrievalEvaluation, ArtifactConfig(name="retrieval_evaluation", tags=["feature-store"])]:
    """Ask the collection that serves the index every judged query."""
    settings, _ = start_step()
    started = time.monotonic()
    with open_qdrant(settings) as client:
        evaluated = evaluate_index(
            client, evaluation.index, evaluation.data, evaluation.format, encoder=evaluation.encoder
        )
    made = to_handle(evaluated, evaluation)
    logger.info("{}: nDCG@10 {:.1%} over {:,} queries, {}", made.index, made.ndcg_at_10, made.queries, made.collection)
    if made.missing:
        logger.warning("{:,} judged documents are not in {}", made.missing, made.collection)
    return made.model_copy(update={"seconds": time.monotonic() - started})
