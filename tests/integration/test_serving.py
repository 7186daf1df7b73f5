"""A changed index beside the one that serves: the gate, the swap, the way back, and what both hold meanwhile."""

import json
import threading
import zlib
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from qdrant_client import QdrantClient, models

from feature_store.errors import (
    ConfigurationError,
    LockedError,
    PromotionRefusedError,
    ReconciliationError,
    TerminalError,
    TransientError,
)
from feature_store.index import (
    collection_names,
    index_fingerprint,
    open_qdrant,
    read_metadata,
    serving_collection,
    vector_names,
)
from feature_store.index_record import IndexRecord
from feature_store.releases import Release, ReleasedIndex, save_release
from feature_store.serving import note_promotion
from feature_store.versions import now
from inference.retriever import Retriever
from pipelines.promotion import drop_retired, plan_dropping, promote_index, roll_back
from pipelines.serving import promote_collection
from pipelines.status import describe_collections
from tests.faults.faults import Fault, armed
from tests.flow import Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import WORDS

INDEX = "notes_index"
TEXT = " ".join(f"word{number}" for number in range(120))
DOCUMENTS = [note("a", TEXT), note("b", "a river and a stone"), note("c", TEXT.replace("word", "term"))]
EDITED = [note("a", TEXT.replace("word7 ", "other ")), DOCUMENTS[1], note("new", "a new note of a bridge")]


class DiedError(BaseException):
    """Stands for the death of the process: nothing catches it."""


def die():
    raise DiedError


def config_with(window=32, model="stand-in", **index):
    """Return the configuration of one index; another window or model is another collection."""
    chunking = {"window": window, "overlap": 8}
    encoder = {"model": model, "precision": "float32"}
    values = {"name": INDEX, "categories": ["notes"], "chunking": chunking, "encoder": encoder, **index}
    return notes_config(indexes=[values])


def stand_in(config):
    return HashEncoder(name=config.model, fingerprint=f"{zlib.crc32(config.model.encode()):012x}")


@pytest.fixture
def flow(tmp_path):
    with closing(QdrantClient(":memory:")) as client:
        yield made(Flow(tmp_path / "data", config_with(), client))


def made(flow):
    flow.load_encoder = stand_in
    return flow


def serves(flow):
    return serving_collection(flow.client, INDEX)


def said(flow, collection):
    return read_metadata(flow.client, collection)


def built(flow, config, documents=DOCUMENTS):
    """Run with a configuration; return which collection it made, and what became of it."""
    flow.config = config
    run = flow.run(documents)
    return run.index.report.collection, run.serving.indexes[0]


def texts_in(flow, collection):
    return {payload["source_id"]: payload["text"] for payload, _ in flow.points(collection).values()}


def assert_holds_the_newest(flow, collection):
    """The points of a collection are exactly the chunks of the live documents."""
    spans = {}
    for payload, _ in flow.points(collection).values():
        assert payload["text"] == flow.texts()[payload["source_id"]][payload["start"] : payload["end"]]
        spans.setdefault(payload["source_id"], []).append((payload["start"], payload["end"]))
    assert spans.keys() == flow.live().keys()
    for name, found in spans.items():
        assert (min(found)[0], max(end for _, end in found)) == (0, len(flow.texts()[name]))
    assert said(flow, collection).version == flow.store.newest().number


# Promotion


def test_the_first_collection_serves_at_the_end_of_its_load_and_is_sampled(flow):
    collection, served = built(flow, config_with())
    assert serves(flow) == collection
    assert (served.outcome, served.collection, served.candidate) == ("serves", collection, None)
    assert served.sampled == len(flow.points(collection)) > 3
    promotion = said(flow, collection).promotion
    assert (promotion.previous, promotion.retired_at, promotion.held, promotion.refused) == (None, None, None, None)
    assert promotion.promoted_at is not None


@pytest.mark.parametrize("change", [{"window": 64}, {"model": "another"}], ids=["chunking", "model"])
def test_a_changed_index_is_built_beside_the_serving_one_and_promoted_through_its_gate(flow, change):
    old, _ = built(flow, config_with())
    new, served = built(flow, config_with(**change))
    assert old != new == serves(flow)
    assert (served.outcome, served.collection, served.previous, served.candidate) == ("promoted", new, old, None)
    assert len(served.checks) == 5
    assert all(check.holds for check in served.checks)
    assert said(flow, new).promotion.previous == old
    assert said(flow, old).promotion.retired_at is not None
    assert_holds_the_newest(flow, new)


def test_an_index_of_the_release_before_blue_green_goes_on_and_is_replaced(flow):
    old, _ = built(flow, config_with())
    forget_keys(flow, old, {"promotion", "payload_indexes", "retrieval", "server", "chunker_version"})
    several = {"strategy": "multi_size", "sizes": [{"window": 32, "overlap": 16}, {"window": 16}]}
    new, served = built(flow, config_with(chunking=several, promotion={"mode": "manual"}), EDITED)
    assert (served.outcome, served.problem, serves(flow)) == ("waits", "", old)
    assert_holds_the_newest(flow, old)
    assert said(flow, old).payload_indexes == said(flow, new).payload_indexes
    assert said(flow, old).promotion.promoted_at is not None
    _, served = built(flow, config_with(chunking=several), EDITED)
    assert (served.outcome, served.previous, serves(flow)) == ("promoted", old, new)
    consistent(flow)


def forget_keys(flow, collection, keys):
    """Let a collection say as little of itself as an earlier release did."""
    flow.client.update_collection(collection, metadata=dict.fromkeys(keys))
    assert not keys & flow.client.get_collection(collection).config.metadata.keys()


def test_an_alias_that_outlived_its_collection_keeps_nothing_from_serving(flow):
    old, _ = built(flow, config_with())
    flow.client.delete_collection(old)
    flow.client._client.aliases[INDEX] = old
    new, served = built(flow, config_with(64))
    assert (served.outcome, serves(flow)) == ("serves", new)


def test_the_load_alone_does_not_move_the_alias(flow):
    old, _ = built(flow, config_with())
    flow.config = config_with(64)
    _, cleaned = flow.commit(EDITED)
    report = flow.bring(cleaned, flow.config.indexes[0]).report
    assert serves(flow) == old != report.collection
    assert said(flow, report.collection).version == 2


def test_a_retired_collection_is_brought_along_no_more(flow):
    old, _ = built(flow, config_with())
    built(flow, config_with(64))
    before = flow.points(old)
    built(flow, config_with(64), EDITED)
    assert flow.points(old) == before
    assert said(flow, old).version == 1


def test_an_alias_that_vanishes_during_a_run_is_an_error(flow):
    built(flow, config_with())
    _, cleaned = flow.commit(DOCUMENTS)
    report = flow.bring(cleaned, flow.config.indexes[0]).report
    alias = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=INDEX))
    flow.client.update_collection_aliases(change_aliases_operations=[alias])
    with pytest.raises(TransientError, match="alias notes_index was removed"):
        flow.serve(cleaned, [report])
    assert serves(flow) is None
    collection, _ = built(flow, config_with())
    assert serves(flow) == collection


# The gate


def lose_a_point(flow, collection):
    flow.client.delete(collection, [next(iter(flow.points(collection)))])


def swap_a_vector(flow, collection):
    identifier, (_, vector) = next(iter(flow.points(collection).items()))
    wrong = {**vector, "dense": [0.0] * 383 + [1.0]}
    flow.client.update_vectors(collection, [models.PointVectors(id=identifier, vector=wrong)])


def alter_a_payload(flow, collection):
    flow.client.set_payload(collection, {"title": "altered"}, points=[next(iter(flow.points(collection)))])


def forget_payload_indexes(flow, collection):
    flow.client.update_collection(collection, metadata={"payload_indexes": {}})


DAMAGES = {
    "a point lost": (lose_a_point, "it holds all points"),
    "a wrong vector": (swap_a_vector, "(dense)"),
    "an altered payload": (alter_a_payload, "(payload)"),
    "no payload indexes": (forget_payload_indexes, "every field that a filter may name"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_gate_refuses_what_is_not_whole(flow, damage):
    harm, told = DAMAGES[damage]
    old, _ = built(flow, config_with())
    flow.config = config_with(64)
    _, cleaned = flow.commit(EDITED)
    report = flow.bring(cleaned, flow.config.indexes[0]).report
    harm(flow, report.collection)
    (served,) = flow.serve(cleaned, [report]).indexes
    assert (served.outcome, served.collection, served.candidate) == ("refused", old, report.collection)
    assert told in served.reason
    assert said(flow, report.collection).promotion.refused == served.reason
    assert serves(flow) == old
    assert_holds_the_newest(flow, old)


def test_a_refused_collection_is_tried_again_by_the_next_run(flow, monkeypatch):
    old, _ = built(flow, config_with())
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.serving.indexed_fields", lambda categories: {"unheard_of": "keyword"})
        new, served = built(flow, config_with(64), EDITED)
    assert (served.outcome, serves(flow)) == ("refused", old)
    again, served = built(flow, config_with(64), EDITED)
    assert (again, served.outcome, serves(flow)) == (new, "promoted", new)
    assert said(flow, new).promotion.refused is None


# Golden queries

ANIMALS = {
    "dogs": "The puppy wagged its tail and barked at the mailman.",
    "cooking": "Simmer the tomatoes with garlic, then add basil and serve over pasta.",
    "space": "The rocket left the launch pad and reached orbit around the planet.",
    "money": "The central bank raised interest rates to curb inflation.",
    "music": "The violinist played a sonata while the orchestra waited.",
    "medicine": "The surgeon repaired the artery and the patient recovered in hospital.",
    "sport": "The striker scored twice in the second half of the match.",
    "weather": "A storm brought heavy rain and lightning to the coast.",
    "law": "The judge dismissed the case because the contract was void.",
    "gardens": "Prune the roses in spring and water the seedlings daily.",
    "trains": "The locomotive pulled forty wagons over the mountain pass.",
    "computers": "The compiler optimises loops and removes dead code.",
    "schools": "The teacher explained fractions to her pupils.",
    "sea": "The trawler hauled its nets full of herring.",
}  # fmt: skip
QUESTIONS = {
    "dogs": "young canine behaviour", "cooking": "italian recipe", "space": "astronautics and satellites",
    "money": "monetary policy economics", "music": "classical concert", "medicine": "surgery on blood vessels",
    "sport": "football goals", "weather": "thunder meteorology", "law": "court ruling on legal agreement",
    "gardens": "horticulture tips", "trains": "freight railway", "computers": "software engineering",
    "schools": "mathematics education", "sea": "commercial fishing",
}  # fmt: skip


def golden_file(folder, questions):
    path = folder / "golden.jsonl"
    lines = [json.dumps({"query": text, "relevant": [f"notes:{name}"]}) for name, text in questions.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_a_model_that_understands_nothing_is_refused_by_golden_queries(flow, tmp_path):
    from feature_store.encoders import PACKAGED_MODEL, load_encoder

    flow.load_encoder = lambda config: load_encoder(config) if config.model == PACKAGED_MODEL else stand_in(config)
    golden = {"golden_queries": golden_file(tmp_path, QUESTIONS)}
    documents = [note(name, text) for name, text in ANIMALS.items()]
    good, _ = built(flow, config_with(model=PACKAGED_MODEL, promotion=golden), documents)
    bad, served = built(flow, config_with(promotion=golden), documents)
    assert (served.outcome, serves(flow)) == ("refused", good)
    assert "nDCG@10 is not worse" in served.reason
    assert "14 golden queries" in served.reason
    assert all(check.holds for check in served.checks[:5])
    # With all documents in the first ten, recall cannot tell; the other way round the gate opens.
    flow.config = config_with(promotion=golden)
    place = flow.workplace(flow.commit(documents)[1])
    promote_collection(place, flow.config.indexes[0], bad)
    _, served = built(flow, config_with(model=PACKAGED_MODEL, promotion=golden), documents)
    assert (served.outcome, serves(flow)) == ("promoted", good)
    assert len(served.checks) == 7


@pytest.mark.parametrize(("tolerance", "outcome"), [(1.0, "promoted"), (0.0, "promoted")])
def test_equal_collections_pass_whatever_the_tolerance(flow, tmp_path, tolerance, outcome):
    golden = {"golden_queries": golden_file(tmp_path, {"b": "a river", "a": "word5"}), "tolerance": tolerance}
    built(flow, config_with(promotion=golden))
    _, served = built(flow, config_with(64, promotion=golden))
    assert (served.outcome, len(served.checks)) == (outcome, 7)
    assert "1.000, the serving one 1.000" in served.checks[-1].figures


def test_golden_queries_that_cannot_be_asked_refuse(flow, tmp_path):
    built(flow, config_with())
    missing = config_with(64, promotion={"golden_queries": str(tmp_path / "missing.jsonl")})
    _, served = built(flow, missing)
    assert served.outcome == "refused"
    assert "golden queries can be compared: Cannot read" in served.reason


def test_deletions_reach_the_serving_one_before_golden_queries_compare(flow, tmp_path):
    """Else the new one would look worse: it lacks what is gone."""
    golden = {"golden_queries": golden_file(tmp_path, {"c": "term5 term6", "b": "a river"}), "tolerance": 0.0}
    built(flow, config_with(promotion=golden))
    _, served = built(flow, config_with(64, promotion=golden), DOCUMENTS[:2])
    assert served.outcome == "promoted"


# What waits


@pytest.mark.parametrize("how", ["manual", "refused", "held"])
def test_edits_and_deletions_that_arrive_while_a_candidate_waits_reach_both(flow, monkeypatch, how):
    old, _ = built(flow, config_with())
    changed = config_with(64, promotion={"mode": "manual" if how == "manual" else "automatic"})
    if how == "refused":
        monkeypatch.setattr("pipelines.serving.indexed_fields", lambda categories: {"unheard_of": "keyword"})
    if how == "held":
        new, _ = built(flow, changed)
        go_back(flow)
    new, served = built(flow, changed, EDITED)
    assert served.outcome == {"manual": "waits"}.get(how, how)
    assert (serves(flow), served.candidate) == (old, new)
    for collection in (old, new):
        assert_holds_the_newest(flow, collection)
        assert texts_in(flow, collection).keys() == {"a", "b", "new"}
    assert min(served.embedded, served.written, served.removed) > 0
    assert (served.problem, served.lag, served.sampled) == ("", 0, len(flow.points(old)))
    _, again = built(flow, changed, EDITED)
    assert (again.embedded, again.written, again.updated, again.removed) == (0, 0, 0, 0)


def test_the_serving_one_is_kept_by_what_it_says_of_itself(flow):
    old, _ = built(flow, config_with(retrieval={"alpha": 0.9}))
    built(flow, config_with(64, "another", promotion={"mode": "manual"}, retrieval={"alpha": 0.1}), EDITED)
    metadata = said(flow, old)
    assert (metadata.version, metadata.retrieval.alpha, metadata.chunking["window"]) == (2, 0.9, 32)
    assert metadata.encoder_config.model == "stand-in"


def gone_model(config):
    if config.model == "stand-in":
        raise ConfigurationError("The embedding model 'stand-in' cannot be loaded: gone", "Put it there.")
    return stand_in(config)


def other_model(config):
    encoder = stand_in(config)
    return HashEncoder(name=config.model, fingerprint="f" * 12) if config.model == "stand-in" else encoder


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("gone model", "The embedding model 'stand-in' cannot be loaded: gone"),
        ("other model", "stand-in here is not the model that made its vectors."),
        ("chunker", "This release makes other chunks or payloads: it has chunker 1 and payload 3"),
        ("chunking", "is not one that this release knows."),
        ("store", "It was made from another feature store."),
        ("code", "brings its own code, and no configured index trusts it."),
    ],
)
def test_a_serving_one_that_cannot_be_kept_up_to_date_is_told_with_its_lag(flow, cause, told):
    old, _ = built(flow, config_with())
    metadata = said(flow, old)
    changes = {
        "chunker": {"fingerprint": "0" * 12},
        "chunking": {"chunking": {"strategy": "of the future"}},
        "store": {"store_id": "another"},
        "code": {"encoder_config": {**metadata.encoder_config.model_dump(), "trust_remote_code": True}},
    }
    if cause in changes:
        flow.client.update_collection(old, metadata=changes[cause])
    else:
        flow.load_encoder = gone_model if cause == "gone model" else other_model
    _, served = built(flow, config_with(64, "another", promotion={"mode": "manual"}), EDITED)
    assert told in served.problem
    assert served.lag == (4 if cause == "store" else 3)  # edited, new and one that is gone; or all that there are
    assert (served.outcome, served.collection, served.version, served.sampled) == ("waits", old, 1, 0)
    assert texts_in(flow, old).keys() == {"a", "b", "c"}
    # None of this keeps the new one from its place.
    _, served = built(flow, config_with(64, "another"), EDITED)
    assert (served.outcome, served.problem, served.lag, served.version) == ("promoted", "", 0, 2)


# The audit at the end


@pytest.mark.parametrize("harm", [swap_a_vector, alter_a_payload])
def test_a_damaged_point_of_what_serves_fails_the_run_and_the_next_one_heals_it(flow, harm):
    collection, _ = built(flow, config_with())
    before = flow.points(collection)
    harm(flow, collection)
    with pytest.raises(ReconciliationError, match=r"is not what was written to it: .* 1 differences") as caught:
        flow.run(DOCUMENTS)
    assert caught.value.exit_code == 6
    run = flow.run(DOCUMENTS)
    assert run.index.embeddings.embedded == 0
    assert run.serving.indexes[0].sampled == len(before)
    assert {name: payload for name, (payload, _) in flow.points(collection).items()} == {
        name: payload for name, (payload, _) in before.items()
    }


def test_no_more_points_are_sampled_than_configured(flow):
    _, served = built(flow, config_with(promotion={"sample": 2}))
    assert served.sampled == 2


# Death on the way

STEPS = [
    pytest.param(Fault(f"qdrant_client.local.qdrant_local:QdrantLocal.{name}", call, when), id=f"{when} {name} {call}")
    for when in ("before", "after")
    for name, calls in (("update_collection_aliases", 1), ("update_collection", 2))
    for call in range(1, calls + 1)
]


def consistent(flow):
    """Exactly what serves says so, and nothing else does."""
    for collection in collection_names(flow.client):
        promotion = said(flow, collection).promotion
        claims = promotion.promoted_at is not None and promotion.retired_at is None
        assert claims == (collection == serves(flow)), collection


@pytest.mark.parametrize("fault", STEPS)
def test_a_run_after_a_death_anywhere_in_a_promotion_makes_it_good(flow, fault):
    old, _ = built(flow, config_with())
    flow.config = config_with(64)
    _, cleaned = flow.commit(DOCUMENTS)
    report = flow.bring(cleaned, flow.config.indexes[0]).report
    with armed(fault, die), pytest.raises(DiedError):
        flow.serve(cleaned, [report])
    assert serves(flow) in {old, report.collection}
    new, served = built(flow, config_with(64))
    assert (serves(flow), served.collection) == (new, new)
    consistent(flow)
    assert said(flow, new).promotion.previous == old
    assert said(flow, new).promotion.held is None


@pytest.mark.parametrize("fault", STEPS)
def test_a_rollback_again_after_a_death_anywhere_in_it_makes_it_good(flow, fault):
    old, _ = built(flow, config_with())
    new, _ = built(flow, config_with(64))
    with armed(fault, die), pytest.raises(DiedError):
        go_back(flow)
    moved = serves(flow) == old
    if not moved:
        go_back(flow)
    _, served = built(flow, config_with(64))
    assert (serves(flow), served.outcome, served.candidate) == (old, "held", new)
    consistent(flow)


@contextmanager
def the_client_of(flow, monkeypatch):
    """Let the commands work on the client of a flow."""

    @contextmanager
    def opened(settings):
        yield flow.client

    monkeypatch.setattr("pipelines.promotion.open_qdrant", opened)
    monkeypatch.setattr("pipelines.status.open_qdrant", opened)
    monkeypatch.setattr("pipelines.promotion.load_encoder", flow.load_encoder)
    yield


def go_back(flow):
    with pytest.MonkeyPatch.context() as patch, the_client_of(flow, patch):
        return roll_back(flow.settings, INDEX)


@pytest.fixture
def commands(flow, monkeypatch):
    with the_client_of(flow, monkeypatch):
        yield


# By hand


def test_a_candidate_that_waits_is_promoted_by_hand(flow, commands):
    manual = {"promotion": {"mode": "manual"}}
    old, _ = built(flow, config_with())
    new, served = built(flow, config_with(64, **manual))
    assert (served.outcome, serves(flow)) == ("waits", old)
    done = promote_index(flow.settings, flow.config, INDEX)
    assert (done.collection, done.previous, serves(flow)) == (new, old, new)
    assert all(check.holds for check in done.checks)
    assert promote_index(flow.settings, flow.config, INDEX).checks == []
    _, served = built(flow, config_with(64, **manual), EDITED)
    assert (served.outcome, served.collection) == ("serves", new)


def test_after_a_rollback_no_run_promotes_until_somebody_does(flow, commands):
    old, _ = built(flow, config_with())
    new, _ = built(flow, config_with(64))
    built(flow, config_with(64), EDITED)
    done = roll_back(flow.settings, INDEX)
    assert (done.collection, done.left, done.version, done.lag) == (old, new, 1, 3)
    assert serves(flow) == old
    for _ in range(2):
        _, served = built(flow, config_with(64), EDITED)
        assert (served.outcome, served.candidate, serves(flow)) == ("held", new, old)
        assert served.reason.startswith(f"rolled back to {old} on ")
        assert_holds_the_newest(flow, old)
    assert promote_index(flow.settings, flow.config, INDEX).previous == old
    _, served = built(flow, config_with(64), EDITED)
    assert (served.outcome, served.collection) == ("serves", new)
    consistent(flow)


def test_rolling_back_twice_goes_further_back_and_ends_at_the_first(flow, commands):
    first, _ = built(flow, config_with())
    second, _ = built(flow, config_with(64))
    third, _ = built(flow, config_with(48))
    assert [roll_back(flow.settings, INDEX).collection for _ in range(2)] == [second, first]
    with pytest.raises(TerminalError, match="no other collection served"):
        roll_back(flow.settings, INDEX)
    assert serves(flow) == first
    assert said(flow, third).promotion.held is not None


def test_a_rollback_whose_predecessor_is_gone_takes_the_newest_that_is_left(flow, commands):
    first, _ = built(flow, config_with())
    second, _ = built(flow, config_with(64))
    built(flow, config_with(48))
    flow.client.delete_collection(second)
    assert roll_back(flow.settings, INDEX).collection == first


def test_a_rollback_of_what_does_not_serve_is_refused(flow, commands):
    with pytest.raises(TerminalError, match="Nothing serves the index notes_index"):
        roll_back(flow.settings, INDEX)


def test_another_collection_than_the_configured_one_may_be_promoted_if_it_is_current(flow, commands):
    old, _ = built(flow, config_with())
    new, _ = built(flow, config_with(64))
    assert promote_index(flow.settings, flow.config, INDEX, old).collection == old
    assert "promoted by hand" in said(flow, new).promotion.held
    _, served = built(flow, config_with(64), EDITED)
    assert (served.outcome, serves(flow)) == ("held", old)
    promote_index(flow.settings, flow.config, INDEX)
    built(flow, config_with(64), DOCUMENTS)
    with pytest.raises(PromotionRefusedError, match="version 2 of 3") as caught:
        promote_index(flow.settings, flow.config, INDEX, old, force=True)
    assert caught.value.exit_code == 10
    assert f"Runs complete what the configuration asks for ({new})" in caught.value.remedy
    assert serves(flow) == new


def test_force_leaves_out_golden_queries_and_nothing_else(flow, commands, tmp_path):
    old, _ = built(flow, config_with())
    changed = config_with(64, promotion={"golden_queries": str(tmp_path / "missing.jsonl")})
    new, served = built(flow, changed)
    assert (served.outcome, serves(flow)) == ("refused", old)
    with pytest.raises(PromotionRefusedError, match="golden queries can be compared"):
        promote_index(flow.settings, flow.config, INDEX)
    alter_a_payload(flow, new)
    with pytest.raises(PromotionRefusedError, match="sampled points are exactly what was written"):
        promote_index(flow.settings, flow.config, INDEX, force=True)
    assert serves(flow) == old
    IndexRecord(flow.settings.indexes_folder, new).forget()
    built(flow, changed)
    assert promote_index(flow.settings, flow.config, INDEX, force=True).collection == new


@pytest.mark.parametrize(
    ("name", "collection", "told"),
    [("unheard_of", None, "no index 'unheard_of'"), (INDEX, "notes_index__0", "no collection notes_index__0")],
)
def test_what_is_not_there_cannot_be_promoted(flow, commands, name, collection, told):
    built(flow, config_with())
    with pytest.raises(ConfigurationError, match=told):
        promote_index(flow.settings, flow.config, name, collection)


def test_by_hand_nothing_is_done_while_a_run_is_at_work(flow, commands, monkeypatch):
    built(flow, config_with())

    def locked(data_dir, purpose):
        raise LockedError("Another run is working.", "Wait.")

    monkeypatch.setattr("feature_store.lock.acquire", locked)
    for call in (
        lambda: promote_index(flow.settings, flow.config, INDEX),
        lambda: roll_back(flow.settings, INDEX),
        lambda: drop_retired(flow.settings, flow.config, None, 0, None),
    ):
        with pytest.raises(LockedError):
            call()


# Looking, and dropping


def test_every_collection_is_described_with_its_state(flow, commands):
    first, _ = built(flow, config_with())
    second, _ = built(flow, config_with(64))
    third, _ = built(flow, config_with(48, promotion={"mode": "manual"}), EDITED)
    rows = {row.collection: row for row in describe_collections(flow.settings, flow.config)}
    assert {name: row.state for name, row in rows.items()} == {
        first: "retired",
        second: "serving",
        third: "candidate",
    }
    assert [rows[name].lag for name in (first, second, third)] == [3, 0, 0]
    assert rows[third].chunking == "sliding_window 48/8"
    assert rows[first].retired_at is not None
    other = notes_config(indexes=[{**flow.config.indexes[0].model_dump(), "name": "other"}])
    rows = describe_collections(flow.settings, other)
    assert (rows[0].index, rows[0].state) == ("other", "not built")
    assert {row.collection: row.state for row in rows[1:]} == {first: "retired", second: "serving", third: "unused"}


def four(flow):
    """Build four collections one after the other; the last one serves."""
    return [built(flow, config_with(window))[0] for window in (32, 40, 48, 64)]


def dropped(flow, name=None, keep=0, older_than=None):
    judged = drop_retired(flow.settings, flow.config, name, keep, older_than)
    return {item.collection for item in judged if not item.kept}, {
        item.collection: item.kept for item in judged if item.kept
    }


def test_retired_collections_are_dropped_with_their_records_but_for_the_newest(flow, commands):
    first, second, third, fourth = four(flow)
    planned = plan_dropping(flow.settings, flow.config, None, 1, None)
    assert set(collection_names(flow.client)) == {first, second, third, fourth}
    gone, kept = dropped(flow, keep=1)
    assert gone == {item.collection for item in planned if not item.kept} == {first, second}
    assert kept == {third: "kept for a rollback"}
    assert set(collection_names(flow.client)) == {third, fourth}
    assert {path.stem for path in flow.settings.indexes_folder.iterdir()} == {third, fourth}
    assert roll_back(flow.settings, INDEX).collection == third


def test_what_was_there_before_the_serving_one_is_kept_first(flow, commands):
    first, second, *_ = four(flow)
    built(flow, config_with(40))  # the second again, after the fourth
    roll_back(flow.settings, INDEX)
    built(flow, config_with())  # the first again
    _, kept = dropped(flow, keep=1)
    assert list(kept) == [said(flow, serves(flow)).promotion.previous]
    assert (serves(flow), second in kept) == (first, False)


def test_what_is_young_configured_released_or_loading_stays(flow, commands):
    first, second, third, fourth = four(flow)
    assert dropped(flow, older_than=timedelta(days=1)) == (
        set(),
        dict.fromkeys([first, second, third], "retired less than 1 days ago"),
    )
    note_promotion(flow.client, first, said(flow, first), retired_at=now() - timedelta(days=2))
    release = Release(
        name="spring", created_at=now(), store_id="s", version=1, version_run_id="r", config_fingerprint="c",
        documents=3, documents_digest="d", indexes=[
            ReleasedIndex(
                index=INDEX, collection=second, fingerprint="f", version=1, points=1, digest="d", config={}, metadata={}
            )
        ],
    )  # fmt: skip
    save_release(flow.store.folder, release)
    lease = {"holder": "elsewhere:1", "token": "t", "expires_at": (now() + timedelta(minutes=5)).isoformat()}
    flow.client.update_collection(third, metadata={"lease": {**lease, "loading": {"number": 1, "run_id": "r"}}})
    roll_back(flow.settings, INDEX)
    gone, kept = dropped(flow)
    assert (serves(flow), gone) == (third, {first})
    assert kept == {second: "release spring pins it", fourth: "it is what the configuration asks for"}
    flow.config = config_with()
    gone, kept = dropped(flow)
    assert gone == {fourth}


def test_one_that_another_name_points_to_stays(flow, commands):
    first, *_ = four(flow)
    alias = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=first, alias_name="of_a_service")
    )
    flow.client.update_collection_aliases(change_aliases_operations=[alias])
    _, kept = dropped(flow)
    assert kept == {first: "it serves as of_a_service"}


def test_one_that_never_served_is_dropped_once_it_is_configured_no_more(flow, commands):
    built(flow, config_with())
    unused, _ = built(flow, config_with(64, promotion={"mode": "manual"}))
    assert dropped(flow)[0] == set()
    flow.config = config_with()
    flow.client.update_collection(unused, metadata={"store_id": "another"})
    assert dropped(flow)[1] == {unused: "it was built from another feature store, and never served"}
    flow.client.update_collection(unused, metadata={"store_id": flow.store.newest().store_id})
    assert dropped(flow)[0] == {unused}


def test_rebuilt_copies_are_looked_at_only_when_they_are_named(flow, commands):
    four(flow)
    copied = config_with(64, name="notes_index").indexes[0].model_copy(update={"name": "notes_index@spring"})
    _, cleaned = flow.commit(DOCUMENTS)
    copy = flow.bring(cleaned, copied).report.collection
    older = flow.bring(cleaned, copied.model_copy(update={"categories": ["notes", "mails"]})).report.collection
    assert dropped(flow)[0].isdisjoint({copy, older})
    assert dropped(flow, name="notes_index@spring")[0] == {older}
    with pytest.raises(ConfigurationError, match="no index 'unheard_of'"):
        dropped(flow, name="unheard_of")


# Under load

READERS = 4
SWAPS = 60


class Reader(threading.Thread):
    """Searches until it is told to stop; notes what is wrong with an answer, and of which collections answers were."""

    def __init__(self, search, query, owners):
        super().__init__(daemon=True)
        self.search, self.query, self.owners = search, query, owners
        self.stopped, self.problems, self.seen = threading.Event(), [], set()

    def run(self):
        while not self.stopped.is_set():
            try:
                collections = {self.owners[point] for point in self.search(self.query)}
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test looks for
                self.problems.append(repr(error))
                return
            if len(collections) != 1:
                self.problems.append(f"results of {collections}")
            self.seen |= collections


def test_a_search_during_swaps_never_fails_is_never_empty_and_never_mixed(flow):
    """Of two collections that hold the same documents in other chunks, each answer is of one alone."""
    documents = [note(f"n{number}", f"{TEXT} about the {WORDS[number]}") for number in range(12)]
    old, _ = built(flow, config_with(), documents)
    new, _ = built(flow, config_with(64), documents)
    owners = {point: name for name in (old, new) for point in flow.points(name)}
    assert len(owners) == len(flow.points(old)) + len(flow.points(new))
    encoder, (dense, _) = HashEncoder(), vector_names(None)
    retriever = Retriever.from_index(INDEX, flow.client, stand_in(flow.config.indexes[0].encoder), refresh_seconds=0.0)

    def through_the_alias(query):
        vector = encoder.embed_query(query).tolist()
        return [str(point.id) for point in flow.client.query_points(INDEX, query=vector, using=dense, limit=10).points]

    def through_the_retriever(query):
        return [result.chunk_id for result in retriever.search(query, k=10)]

    searches = (through_the_alias, through_the_retriever)
    readers = [Reader(searches[number % 2], f"word{number} {WORDS[number]}", owners) for number in range(READERS)]
    place = flow.workplace(flow.commit(documents)[1])
    for reader in readers:
        reader.start()
    for number in range(SWAPS):
        if number % 3 == 2:
            go_back(flow)
        else:
            promote_collection(place, flow.config.indexes[0], new if serves(flow) == old else old)
    for reader in readers:
        reader.stopped.set()
        reader.join()
    assert [problem for reader in readers for problem in reader.problems] == []
    assert [reader.seen for reader in readers] == [{old, new}] * READERS


# On disk, as the commands find it


def test_what_was_promoted_on_disk_is_there_for_the_next_process(tmp_path, monkeypatch):
    flow = made(Flow(tmp_path / "data", config_with()))
    flow.client.close()
    with open_qdrant(flow.settings) as flow.client:
        old, _ = built(flow, config_with())
        new, _ = built(flow, config_with(64))
    monkeypatch.setattr("pipelines.promotion.load_encoder", stand_in)
    assert roll_back(flow.settings, INDEX).collection == old
    with open_qdrant(flow.settings) as flow.client:
        assert serves(flow) == old
        consistent(flow)
    assert promote_index(flow.settings, config_with(64), INDEX).collection == new


def test_the_name_of_the_candidate_follows_from_the_configuration(flow):
    new, _ = built(flow, config_with(64))
    (index,) = flow.config.indexes
    fingerprint = index_fingerprint(index, stand_in(index.encoder), 1, flow.store.newest().store_id)
    assert new == f"{INDEX}__{fingerprint}"
