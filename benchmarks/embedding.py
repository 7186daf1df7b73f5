"""How fast texts are embedded: this project's encoder beside sentence-transformers as it is used elsewhere.

Run by ``make bench-embedding``; writes ``benchmarks/results/embedding.json``. Chunks of 200 and of 48 tokens are cut
from READMEs and docstrings that this machine has. Variants take turns, and the best of several rounds counts, so that
what else the machine does hits all alike: compare the figures of one run only.

The exit code is 1 if a vector of the encoder is not that of sentence-transformers at float32 (cosine below 0.999); a
goal of speed that is missed is reported, with exit code 0.
"""

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from loguru import logger
from sentence_transformers import SentenceTransformer

from benchmarks.report import Results, finish
from feature_store.encoders import (
    Dimensions,
    Encoder,
    floating_point_operations,
    load_encoder,
    measure_gemm,
    packaged_model,
)
from feature_store.encoders.description import find_plain
from feature_store.encoders.packed import PackedBert
from feature_store.encoders.precision import LEAST_COSINE
from feature_store.index_config import EncoderConfig
from warehouse.imports.distributions import read_distributions
from warehouse.imports.docstrings import read_docstrings

DEFAULT_OUTPUT = Path(__file__).with_name("results") / "embedding.json"
PACKAGES = ("sklearn", "networkx")
WINDOWS = (200, 48)
SEED = 7
BARE_BATCH_TOKENS = 4096
BARE_GOAL = 0.85  # of the rate of the bare loop
FASTER_GOAL = 1.3  # than sentence-transformers at float32

Vectors = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Vectors]


@dataclass
class Row:
    """One variant on chunks of one size; the rates are those of its best round.

    ``chunks_per_cpu_second`` counts the seconds of all cores that worked: on a machine that does other things too, it
    says more than the clock does.
    """

    window: int
    variant: str
    precision: str
    chunks: int
    mean_tokens: float
    chunks_per_second: float
    chunks_per_cpu_second: float
    tokens_per_second: int
    share_of_gemm: float
    cosine_min: float
    cosine_mean: float


@dataclass(frozen=True)
class Variant:
    """A way of embedding."""

    name: str
    precision: str
    embed: Embed


def main() -> int:
    """Measure, write the results, and say whether the vectors are right."""
    arguments = _arguments()
    logger.remove()
    results = Results()
    encoder = load_encoder(EncoderConfig())
    encoder.load()
    variants = [*peers(), bare_loop(encoder), Variant("this encoder", encoder.precision, encoder.embed_documents)]
    gemm = {precision: measure_gemm(precision) for precision in {variant.precision for variant in variants}}
    for window in WINDOWS:
        texts = list(islice(chunks(encoder, window), arguments.chunks * 200 // window))
        measure(results, encoder, window, texts, variants, gemm, arguments.rounds)
    return finish(
        results,
        arguments.output,
        ("torch", "transformers", "sentence-transformers", "tokenizers"),
        model=encoder.name,
        threads=torch.get_num_threads(),
        processor=torch.cpu.get_capabilities().get("cpu_name"),
        path=encoder.path,
        gemm_gflops={precision: round(speed / 1e9) for precision, speed in gemm.items()},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how fast texts are embedded.")
    parser.add_argument("--chunks", type=int, default=256, help="chunks of 200 tokens; of 48, 4 times as many (256)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (3)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT)
    return parser.parse_args()


def chunks(encoder: Encoder, window: int) -> Iterator[str]:
    """Yield windows of the documents of this machine, in random order of the documents."""
    texts = [document["content"] for package in PACKAGES for document in read_docstrings(package, lambda _: None)]
    texts += [str(document["content"]["Content"]) for document in read_distributions()]
    random.Random(SEED).shuffle(texts)  # noqa: S311 - the same choice each time
    for text in texts:
        spans = encoder.token_spans(text)
        for start in range(0, len(spans), window):
            some = spans[start : start + window]
            yield text[some[0][0] : some[-1][1]]


def peers() -> Iterator[Variant]:
    """Yield sentence-transformers as other pipelines call it, and as fast as its own settings make it."""
    for precision, batch in (("float32", 32), ("bfloat16", 16)):
        dtype = getattr(torch, precision)
        model = SentenceTransformer(str(packaged_model()), device="cpu", model_kwargs={"dtype": dtype})

        def embed(texts: list[str], model: Any = model, batch: int = batch) -> Vectors:
            found = model.encode(texts, batch_size=batch, convert_to_tensor=True, show_progress_bar=False)
            vectors: Vectors = found.float().numpy()
            return vectors

        yield Variant(f"sentence-transformers, batch {batch}", precision, embed)


def bare_loop(encoder: Encoder) -> Variant:
    """Return the packed forward with nothing around it: batches of like lengths, one after the other."""
    plain = find_plain(EncoderConfig())
    if plain is None:
        raise SystemExit("The package of the model is not installed.")
    model = SentenceTransformer(str(plain.folder), device="cpu")
    bert = PackedBert(model[0].model, plain.pooling, getattr(torch, encoder.precision))

    def embed(texts: list[str]) -> Vectors:
        ids = [model.tokenizer(text, truncation=True, max_length=plain.longest)["input_ids"] for text in texts]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        vectors = np.empty((len(texts), encoder.dimension), np.float32)
        batch: list[int] = []
        for number, place in enumerate(order):
            batch.append(place)
            following = order[number + 1 : number + 2]
            if not following or sum(len(ids[one]) for one in [*batch, *following]) > BARE_BATCH_TOKENS:
                vectors[batch] = bert.embed([ids[one] for one in batch])
                batch = []
        return vectors

    return Variant("bare packed loop", encoder.precision, embed)


def measure(
    results: Results,
    encoder: Encoder,
    window: int,
    texts: list[str],
    variants: Sequence[Variant],
    gemm: dict[str, float],
    rounds: int,
) -> None:
    """Note a row for each variant on chunks of one size, and what has to hold between them."""
    lengths = [len(encoder.token_spans(text)) + 2 for text in texts]
    operations = floating_point_operations(Dimensions(6, 384, 1536), lengths)
    vectors, seconds, cpu_seconds = in_turns(variants, texts, rounds)
    reference = unit(vectors[variants[0].name])
    rates = {}
    for variant in variants:
        cosines = (unit(vectors[variant.name]) * reference).sum(axis=1)
        best, worked = min(seconds[variant.name]), min(cpu_seconds[variant.name])
        rates[variant.name] = len(texts) / best
        results.add(
            Row(
                window=window,
                variant=variant.name,
                precision=variant.precision,
                chunks=len(texts),
                mean_tokens=round(statistics.mean(lengths), 1),
                chunks_per_second=round(len(texts) / best, 1),
                chunks_per_cpu_second=round(len(texts) / worked, 1),
                tokens_per_second=round(sum(lengths) / best),
                share_of_gemm=round(operations / best / gemm[variant.precision], 3),
                cosine_min=round(float(cosines.min()), 5),
                cosine_mean=round(float(cosines.mean()), 5),
            )
        )
    ours = variants[-1].name
    least = float((unit(vectors[ours]) * reference).sum(axis=1).min())
    goal = f"at least {LEAST_COSINE}"
    results.check(f"{window} tokens, lowest cosine", round(least, 5), goal, holds=least >= LEAST_COSINE)
    faster(
        results, f"{window} tokens, rate beside {variants[0].name}", rates[ours] / rates[variants[0].name], FASTER_GOAL
    )
    faster(results, f"{window} tokens, rate beside the bare loop", rates[ours] / rates["bare packed loop"], BARE_GOAL)


def in_turns(
    variants: Sequence[Variant], texts: list[str], rounds: int
) -> tuple[dict[str, Vectors], dict[str, list[float]], dict[str, list[float]]]:
    """Return each variant's vectors, its seconds in each round, and those of all cores; all work in each round."""
    vectors = {variant.name: variant.embed(texts[:32]) for variant in variants}
    seconds: dict[str, list[float]] = {variant.name: [] for variant in variants}
    cpu_seconds: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            started, worked = time.perf_counter(), time.process_time()
            vectors[variant.name] = variant.embed(texts)
            seconds[variant.name].append(time.perf_counter() - started)
            cpu_seconds[variant.name].append(time.process_time() - worked)
    return vectors, seconds, cpu_seconds


def faster(results: Results, name: str, ratio: float, goal: float) -> None:
    """Note a goal of speed."""
    results.check(name, round(ratio, 2), f"at least {goal}", holds=ratio >= goal, decides=False)


def unit(vectors: Vectors) -> npt.NDArray[np.float64]:
    """Return vectors of length one."""
    exact = vectors.astype(np.float64)
    scaled: npt.NDArray[np.float64] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return scaled


if __name__ == "__main__":
    sys.exit(main())
