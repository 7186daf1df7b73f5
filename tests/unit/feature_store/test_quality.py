"""Profiles: the figures of a version, made from those of the last one, and the distances between two."""

import itertools
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import quality
from feature_store.config import DeletionGuard, RunOptions
from feature_store.quality import (
    bits_for,
    jensen_shannon_distance,
    length_bounds,
    measure_profile,
    population_stability_index,
    profile_version,
    read_profile,
    read_profiles,
    resampled,
)
from feature_store.versions import publish_version
from tests.flow import CATEGORY, Flow, note, notes_config

ENGLISH = "The river runs under the old bridge, and the market behind it opens in the morning. " * 3


@pytest.fixture
def flow(tmp_path):
    return make_flow(tmp_path / "data")


def make_flow(folder):
    everything = DeletionGuard(max_documents=1_000_000)
    category = {**CATEGORY, "url": "link", "metadata": {"topic": "topic", "tags": "tags"}}
    config = notes_config(categories=[category, {**CATEGORY, "name": "letters", "collection": "letters"}])
    return Flow(folder, config.model_copy(update={"deletions": everything}))


def profile_of(flow, category="notes"):
    return read_profiles(flow.store.folder)[flow.store.newest().number][category]


def measured_now(flow, category="notes"):
    """Measure the newest version from the table alone."""
    newest = flow.store.newest()
    rejected = flow.store.rejects(newest).count_rows(filter=f"category = '{category}'")
    profile = measure_profile(flow.store.documents(newest), category)
    return profile.model_copy(update={"rejected": rejected})


def test_a_profile_counts_documents_lengths_languages_and_fields(flow):
    flow.commit(
        [
            note("a", "four", title="A", link="https://example.org/a", topic="x"),
            note("b", "five!", topic="", tags=[]),
            note("c", ENGLISH, title="C", topic=0),
            note("bad", None),
        ]
    )
    profile = profile_of(flow)
    length = len(ENGLISH.strip())
    assert (profile.documents, profile.rejected, profile.characters) == (3, 1, 4 + 5 + length)
    assert profile.lengths == {4: 2, math.floor(2 * math.log2(length)): 1}
    assert profile.languages == {"unknown": 2, "en": 1}
    assert profile.fields == {"title": 2, "url": 1, "language": 1, "metadata.topic": 2}
    assert profile.share(profile.fields["url"]) == pytest.approx(1 / 3)


def test_words_are_counted_by_hash_whatever_their_case(flow):
    flow.commit([note("a", "Stone stone RIVER"), note("b", "river")])
    profile = profile_of(flow)
    assert sorted(profile.words.values()) == [2, 2]
    assert profile.sampled == 2
    assert all(0 <= place < quality.WORD_BINS for place in profile.words)


def test_a_file_of_profiles_holds_no_text(flow):
    flow.commit([note("a", "unmistakable marker", title="another marker", topic="third marker")])
    stored = (flow.store.folder / "profiles" / "1.json").read_text()
    assert "marker" not in stored


def test_every_published_version_has_its_profiles(flow):
    flow.commit([note("a", "alpha")])
    flow.commit([note("a", "alpha"), note("b", "beta")])
    flow.commit([note("a", "alpha"), note("b", "beta")])
    profiles = read_profiles(flow.store.folder)
    assert {number: found["notes"].documents for number, found in profiles.items()} == {1: 1, 2: 2}


def test_a_category_without_changes_keeps_its_profile_unread(flow, monkeypatch):
    flow.commit({"notes": [[note("a", "alpha")]], "letters": [[note("x", "dear reader")]]})
    before = profile_of(flow, "letters")
    asked = []
    monkeypatch.setattr(quality, "_count", lambda table, condition, bits: asked.append(condition) or quality.Counter())
    monkeypatch.setattr(quality, "measure_profile", lambda table, category: asked.append(category) or before)
    flow.commit({"notes": [[note("a", "alpha"), note("b", "beta")]], "letters": [[note("x", "dear reader")]]})
    assert "letters" not in asked
    assert not any("letters" in condition for condition in asked)
    assert profile_of(flow, "letters") == before


def test_a_small_change_reads_only_the_rows_that_were_written(flow, monkeypatch):
    documents = [note(f"n{number}", f"text {number}", topic="x") for number in range(30)]
    flow.commit(documents)
    monkeypatch.setattr(quality, "measure_profile", None)
    flow.commit([note("n0", "other words here", topic=None), *documents[2:], note("new", "x")])
    monkeypatch.undo()
    assert profile_of(flow) == measured_now(flow)
    assert profile_of(flow).documents == 30


def test_a_category_that_lost_all_documents_has_a_profile_of_none(flow):
    flow.commit([note("a", "alpha")])
    approved = RunOptions(approved_deletions={"notes": 1})
    flow.config = flow.config.model_copy(update={"options": approved})
    flow.commit([])
    assert profile_of(flow).documents == 0
    assert profile_of(flow).words == {}


def test_profiles_of_a_run_that_died_count_for_nothing(flow):
    flow.commit([note("a", "alpha")])
    newest = flow.store.newest()
    flow.commit([note("a", "alpha"), note("b", "beta")])
    died = flow.store.newest()
    (flow.store.folder / "versions" / "00000002.json").unlink()
    publish_version(flow.store.folder, newest.model_copy(update={"number": 2, "run_id": "another"}))
    assert died.run_id != "another"
    assert read_profile(flow.store.folder, flow.store.newest()) is None
    assert list(read_profiles(flow.store.folder)) == [1]


def test_a_version_without_profiles_is_measured(flow):
    flow.commit([note("a", "alpha", topic="x"), note("bad", None)])
    kept = profile_of(flow)
    (flow.store.folder / "profiles" / "1.json").unlink()
    assert profile_version(flow.store, flow.store.newest()) == {"notes": kept}


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "run', b"[1]", b"{}", b"\xff\xfe"], ids=repr)
def test_damaged_profiles_are_measured_anew_and_stop_no_run(flow, content):
    flow.commit([note("a", "alpha", topic="x"), note("bad", None)])
    kept = profile_of(flow)
    (flow.store.folder / "profiles" / "1.json").write_bytes(content)
    assert profile_version(flow.store, flow.store.newest()) == {"notes": kept}
    flow.commit([note("a", "alpha", topic="x"), note("b", "beta"), note("bad", None)])
    assert profile_of(flow) == measured_now(flow)
    assert list(read_profiles(flow.store.folder)) == [2]


def test_profiles_of_tables_that_were_written_anew_are_measured(flow):
    flow.commit([note("a", "alpha")])
    kept, newest = profile_of(flow), flow.store.newest()
    path = flow.store.folder / "profiles" / "1.json"
    path.write_text(
        path.read_text().replace('"generation": 0', '"generation": 1').replace('"characters": 5', '"characters": 9')
    )
    assert read_profile(flow.store.folder, newest)["notes"].characters == 9
    assert profile_version(flow.store, newest) == {"notes": kept}


@pytest.mark.parametrize(
    ("kept", "wrong"),
    [('"generation": 0', '"generation": 1'), ('"documents": 10', '"documents": 11')],
    ids=["other tables", "another number of documents"],
)
def test_a_profile_that_is_not_that_of_the_table_is_not_followed(flow, kept, wrong):
    documents = [note(f"n{number}", "alpha") for number in range(10)]
    flow.commit(documents)
    path = flow.store.folder / "profiles" / "1.json"
    path.write_text(path.read_text().replace(kept, wrong).replace('"characters": 50', '"characters": 99'))
    flow.commit([*documents, note("new", "beta")])
    assert profile_of(flow) == measured_now(flow)


def test_after_a_version_without_profiles_everything_is_measured_anew(flow):
    documents = {"notes": [[note("a", "alpha")]], "letters": [[note("x", "dear reader")]]}
    flow.commit(documents)
    (flow.store.folder / "profiles" / "1.json").unlink()
    flow.commit({**documents, "notes": [[note("a", "alpha"), note("b", "beta")]]})
    assert profile_of(flow, "letters") == measured_now(flow, "letters")
    assert profile_of(flow) == measured_now(flow)


BODIES = st.sampled_from(["river stone", "light market engine", ENGLISH, "Stein und Fluss. " * 20, None])
NOTES = st.dictionaries(
    st.sampled_from([f"n{number}" for number in range(12)]),
    st.tuples(BODIES, st.sampled_from([None, "A title"]), st.sampled_from([None, "", "x"])),
    max_size=12,
)


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(states=st.lists(NOTES, min_size=2, max_size=4), share=st.sampled_from([0.0, 0.5, 100.0]))
def test_a_profile_that_follows_changes_is_the_one_that_is_measured(states, share):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "_WHOLE_SHARE", share)
        patch.setattr(quality, "SAMPLED_DOCUMENTS", 3)
        flow = make_flow(Path(folder))
        for state in states:
            documents = [
                note(name, body, title=title, topic=topic) for name, (body, title, topic) in sorted(state.items())
            ]
            flow.commit(documents, check=lambda shares: None)
            if flow.rows() or flow.rejects():
                assert profile_of(flow) == measured_now(flow)


def test_both_versions_sample_the_same_documents(flow, monkeypatch):
    monkeypatch.setattr(quality, "SAMPLED_DOCUMENTS", 10)
    documents = [note(f"n{number}", f"word{number}") for number in range(40)]
    flow.commit(documents)
    first = profile_of(flow)
    assert first.sample_bits == 2
    assert 0 < first.sampled < 40
    flow.commit(documents[:38])
    table = flow.store.documents(flow.store.newest())
    rows = table.scanner(columns=["document_id"], filter="state = 'live'").to_table()["document_id"].to_pylist()
    assert profile_of(flow).sampled == sum(int(name[0], 16) < 4 for name in rows)


def test_a_profile_is_sampled_anew_for_another_size_of_the_sample(flow):
    flow.commit([note(f"n{number}", f"word{number}") for number in range(40)])
    profile, table = profile_of(flow), flow.store.documents(flow.store.newest())
    assert resampled(profile, table, "notes", 0) is profile
    fewer = resampled(profile, table, "notes", 1)
    assert (fewer.sample_bits, fewer.documents) == (1, 40)
    assert 0 < fewer.sampled < 40
    assert set(fewer.words) < set(profile.words)


@pytest.mark.parametrize("documents", [0, 1, 2000, 2001, 4000, 4001, 1_000_000, 10**9])
def test_a_sample_is_never_much_larger_than_it_should_be(documents):
    expected = documents / 2 ** bits_for(documents)
    assert expected <= quality.SAMPLED_DOCUMENTS
    assert bits_for(documents) == 0 or expected > quality.SAMPLED_DOCUMENTS / 4


@given(characters=st.integers(1, 10_000_000))
def test_the_steps_of_lengths_have_no_gap(characters):
    step = math.floor(2 * math.log2(characters))
    low, following = length_bounds(step)
    assert low <= characters < following
    assert length_bounds(step + 1)[0] == following


COUNTS = st.dictionaries(st.integers(0, 20), st.integers(1, 500), min_size=1)


@given(first=COUNTS, second=COUNTS)
def test_distances_are_zero_for_the_same_and_never_negative(first, second):
    for distance in (jensen_shannon_distance, population_stability_index):
        assert distance(first, first) == 0
        assert distance(first, second) >= 0
        assert distance(first, second) == pytest.approx(distance(second, first))
    assert jensen_shannon_distance(first, second) <= 1


@given(first=COUNTS, second=COUNTS, third=COUNTS)
def test_the_jensen_shannon_distance_is_a_metric(first, second, third):
    for one, two, three in itertools.permutations([first, second, third]):
        longer = jensen_shannon_distance(one, two) + jensen_shannon_distance(two, three)
        assert jensen_shannon_distance(one, three) <= longer + 1e-6


def test_documents_without_a_word_are_as_far_as_can_be_from_those_with_words():
    """A category of nothing but signs has none; neither figure may become NaN, which no JSON can hold."""
    assert jensen_shannon_distance({1: 5}, {}) == jensen_shannon_distance({}, {1: 5}) == 1
    assert jensen_shannon_distance({}, {}) == population_stability_index({}, {}) == 0


def test_the_distances_have_the_values_of_the_textbook():
    assert jensen_shannon_distance({1: 5}, {2: 7}) == pytest.approx(1)
    # (1/2, 1/2) and (1, 0): the divergence is 3/4 · log2(4/3) in bits, as of scipy.spatial.distance.jensenshannon.
    assert jensen_shannon_distance({1: 5, 2: 5}, {1: 10}) == pytest.approx(0.5579230452841438)
    # Without the half document added: (0.5 - 0.2) · ln(0.5 / 0.2) twice.
    large = {1: 500_000, 2: 500_000}, {1: 200_000, 2: 800_000}
    expected = (0.2 - 0.5) * math.log(0.2 / 0.5) + (0.8 - 0.5) * math.log(0.8 / 0.5)
    assert population_stability_index(*large) == pytest.approx(expected, abs=1e-4)
