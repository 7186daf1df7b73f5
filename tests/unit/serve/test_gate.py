"""The gate: what is not whole must not serve."""

from datetime import UTC, datetime

import pytest

from feature_store.handles import GateCheck
from feature_store.index import EncoderDescription, IndexMetadata, Lease, VersionName
from feature_store.index_config import EncoderConfig
from steps.serve.gate import Found, Wanted, run_gate

NOW = datetime(2026, 11, 21, tzinfo=UTC)
VERSION = VersionName(number=7, run_id="seven")
FIELDS = {"document_id": "keyword", "position": "integer"}
WANTED = Wanted("0123456789ab", VERSION, 20, FIELDS)
GOOD = GateCheck(name="a sample", holds=True, figures="64 points compared")
BAD = GateCheck(name="a sample", holds=False, figures="1 difference")


def metadata_with(**changes):
    encoder = EncoderDescription(
        model="m", fingerprint="f", dimension=1, token_limit=1, document_prompt="", query_prompt="", normalised=True,
        similarity="cosine",
    )  # fmt: skip
    values = {
        "index": "notes_index", "fingerprint": "0123456789ab", "store_id": "s", "version": 7, "version_run_id": "seven",
        "categories": ["notes"], "encoder": encoder, "encoder_config": EncoderConfig(model="m"), "chunking": {},
        "sparse": {}, "payload_indexes": FIELDS, "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    return IndexMetadata(**{**values, **changes})


def gate_of(metadata, points=20, indexed=None, sample=GOOD, golden=None):
    found = Found(metadata, points, None if indexed is None else frozenset(indexed))
    return run_gate("notes_index__0123456789ab", WANTED, found, lambda: [sample], golden)


def test_a_whole_collection_may_serve():
    gate = gate_of(metadata_with())
    assert gate.opens
    assert gate.refusal == ""
    assert [check.figures for check in gate.checks] == [
        "0123456789ab", "version 7", "20 points, 20 chunks", "2 fields", "64 points compared",
    ]  # fmt: skip


LEASE = Lease(holder="h:1", token="t", expires_at=NOW, loading=VERSION)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"fingerprint": "ba9876543210"}, "ba9876543210, the configuration makes 0123456789ab"),
        ({"version": 6, "version_run_id": "six"}, "version 6 of 7"),
        ({"version_run_id": "another"}, "version 7 of another history of the feature store"),
        ({"lease": LEASE}, "version 7, and a load of it has not ended"),
        ({"payload_indexes": {"document_id": "keyword"}}, "1 of 2 fields have none: position"),
        ({"payload_indexes": {**FIELDS, "position": "keyword"}}, "1 of 2 fields have none: position"),
        ({"payload_indexes": {}}, "2 of 2 fields have none: document_id, position"),
    ],
)
def test_a_collection_that_says_something_else_of_itself_is_refused(changes, refusal):
    gate = gate_of(metadata_with(**changes))
    assert not gate.opens
    assert gate.refusal.endswith(refusal)
    assert [check.holds for check in gate.checks].count(False) == 1


@pytest.mark.parametrize("points", [19, 21])
def test_a_point_too_few_or_too_many_is_refused(points):
    assert gate_of(metadata_with(), points).refusal == f"it holds all points: {points} points, 20 chunks"


def test_an_empty_collection_never_takes_the_place_of_another():
    found = Found(metadata_with(), 0, None)
    gate = run_gate("c", Wanted("0123456789ab", VERSION, 0, FIELDS), found, lambda: [GOOD])
    assert gate.refusal == "it holds all points: 0 points, 0 chunks"


def test_on_a_server_the_payload_indexes_must_really_be_there():
    assert gate_of(metadata_with(), indexed=[*FIELDS, "more"]).opens
    gate = gate_of(metadata_with(), indexed=["document_id"])
    assert gate.refusal.endswith("1 of 2 fields have none: position")


def test_a_sample_that_differs_is_refused():
    assert gate_of(metadata_with(), sample=BAD).refusal == "a sample: 1 difference"


def test_points_are_compared_only_where_the_collection_says_what_it_must():
    def sample():
        raise AssertionError

    found = Found(metadata_with(version=6), 20, None)
    gate = run_gate("notes_index__0123456789ab", WANTED, found, sample)
    assert gate.refusal.endswith("version 6 of 7")


def test_golden_queries_are_asked_of_whole_collections_only():
    asked = []

    def golden():
        asked.append(1)
        return [GateCheck(name="recall@10", holds=False, figures="0.1")]

    assert gate_of(metadata_with(), golden=golden).refusal == "recall@10: 0.1"
    assert asked == [1]
    assert gate_of(metadata_with(), sample=BAD, golden=golden).refusal == "a sample: 1 difference"
    assert asked == [1]
