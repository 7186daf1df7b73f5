"""What each stage did and cost, from what the stages handed on."""

from pathlib import Path

from feature_store.handles import (
    Chunks,
    CleanCounts,
    CleanedDocuments,
    Embeddings,
    IndexReport,
    RawDocuments,
    ResourceUse,
    ServedIndex,
    ServingReport,
)
from steps.report.stages import stage_figures

USE = ResourceUse(processor_seconds=4.0, peak_memory=100, children_memory=50)
FOLDER = Path("unused")


def branch(index):
    place = {"folder": FOLDER, "index": index, "collection": f"{index}__0", "since": 1, "version": 2}
    chunks = Chunks(**place, chunks=30, seconds=1.0)
    embeddings = Embeddings(
        **place, model="m", encoder_fingerprint="e", dimension=4, embedded=20, reused=5, seconds=2.0,
        tokens=3000, operations=5e9, gemm_speed=1e10, use=USE,
    )  # fmt: skip
    report = IndexReport(
        index=index,
        collection=f"{index}__0",
        version_before=1,
        version=2,
        written=25,
        updated=2,
        removed=4,
        seconds=3.0,
    )
    return chunks, embeddings, report


def stages_of(serving=None):
    counts = CleanCounts(read=9, added=3, changed=1, metadata_changed=1, unchanged=3, rejected=1, newly_rejected=1)
    raw = RawDocuments(folder=FOLDER, seconds=0.5)
    cleaned = CleanedDocuments(
        folder=FOLDER, version=2, categories={"notes": counts, "mails": counts}, seconds=0.25, use=USE
    )
    return stage_figures(raw, cleaned, [branch("one"), branch("two")], serving or ServingReport())


def test_every_stage_of_every_index_has_its_seconds_and_rows():
    assert [(stage.stage, stage.index, stage.seconds, stage.rows, stage.unit) for stage in stages_of()] == [
        ("extract", "", 0.5, 18, "document"),
        ("clean", "", 0.25, 12, "document"),
        ("chunk", "one", 1.0, 30, "chunk"),
        ("embed", "one", 2.0, 20, "text"),
        ("load", "one", 3.0, 31, "point"),
        ("chunk", "two", 1.0, 30, "chunk"),
        ("embed", "two", 2.0, 20, "text"),
        ("load", "two", 3.0, 31, "point"),
    ]


def test_embedding_has_its_tokens_and_its_share_of_the_gemm_speed():
    embed = stages_of()[3]
    assert (embed.name, embed.token_rate, embed.gemm_share, embed.cores) == ("embed one", 1500.0, 0.25, 2.0)


def test_a_stage_has_what_it_used_of_the_machine():
    extract, clean, *_ = stages_of()
    assert clean.use == USE
    assert extract.cores is None


def test_serving_is_a_stage_whose_rows_are_the_points_of_collections_that_were_kept_up_to_date():
    kept = ServedIndex(
        index="one", collection="one__0", version=2, outcome="refused", written=3, updated=4, removed=5, embedded=2
    )
    last = stages_of(ServingReport(indexes=[kept], seconds=1.5))[-1]
    assert (last.stage, last.index, last.seconds, last.rows, last.unit) == ("serve", "", 1.5, 12, "point")
