"""Expectations of the configuration: what warns, what fails before anything is committed, and what is not judged."""

import pytest
from loguru import logger

from feature_store.config import AtLeast, AtMost
from feature_store.errors import DataQualityError, TooManyRejectsError
from feature_store.quality import read_profiles
from steps.clean import quality
from steps.clean.quality import Measured, judge, judge_version
from tests.flow import CATEGORY, Flow, note, notes_config

ENGLISH = "The river runs under the old bridge, and the market behind it opens in the morning. " * 3
GERMAN = "Der Fluss fließt unter der alten Brücke, und der Markt dahinter öffnet am frühen Morgen. " * 3


@pytest.fixture
def expecting(tmp_path):
    """Return a function that makes an installation with expectations of its notes."""

    def make(expected, **options):
        categories = [{**CATEGORY, "url": "link", "author": "by", "quality": expected}, LETTERS]
        flow = Flow(tmp_path / "data", notes_config(categories=categories, options=options))
        # All differences at once: the guard of deletions is not what is tested here.
        return allowing_deletions(flow)

    return make


LETTERS = {**CATEGORY, "name": "letters", "collection": "letters"}


def allowing_deletions(flow):
    options = flow.config.options.model_copy(update={"approved_deletions": {"notes": 1_000_000}})
    flow.config = flow.config.model_copy(update={"options": options})
    return flow


def found(cleaned):
    return {finding.expectation: finding.level for finding in cleaned.quality}


def notes(count, **fields):
    return [note(f"n{number}", f"text number {number}", **fields) for number in range(count)]


@pytest.mark.parametrize(
    ("with_title", "level"), [(10, None), (9, None), (8, "warn"), (5, "warn"), (4, "fail")], ids=str
)
def test_a_share_of_documents_that_have_a_field_is_judged_against_both_thresholds(expecting, with_title, level):
    flow = expecting({"present": {"title": {"warn": 0.9, "fail": 0.5}}})
    documents = [*notes(10, title="A")[:with_title], *notes(10)[with_title:]]
    if level == "fail":
        with pytest.raises(DataQualityError, match=r"notes: present\.title is 0\.4, below fail 0\.5"):
            flow.commit(documents)
        return
    _, cleaned = flow.commit(documents)
    assert found(cleaned) == ({"present.title": level} if level else {})


@pytest.mark.parametrize("field", ["url", "author", "metadata.topic"])
def test_every_field_can_be_expected(expecting, field):
    flow = expecting({"present": {field: {"warn": 1}}})
    _, cleaned = flow.commit(notes(3, link="https://example.org/", by="A. Author", topic="x"))
    assert found(cleaned) == {}
    _, cleaned = flow.commit([*notes(3, link="https://example.org/", by="A. Author", topic="x"), note("n3", "x")])
    assert found(cleaned) == {f"present.{field}": "warn"}


@pytest.mark.parametrize(
    ("expected", "level"),
    [
        ({"minimum": 5, "maximum": 10, "outside": {"warn": 0.4}}, None),
        ({"minimum": 6, "maximum": 10, "outside": {"warn": 0.4}}, "warn"),
        ({"minimum": 5, "maximum": 9, "outside": {"warn": 0.5}}, "warn"),
        ({"minimum": 6, "outside": {"warn": 0.3}}, "warn"),
        ({"maximum": 10, "outside": {"warn": 0.3}}, None),
    ],
    ids=str,
)
def test_lengths_outside_of_the_bounds_are_counted(expecting, expected, level):
    flow = expecting({"length": expected})
    _, cleaned = flow.commit([note("a", "12345"), note("b", "1234567890"), note("c", "12345" * 2), note("d", "1")])
    assert found(cleaned) == ({"length.outside": level} if level else {})


def test_the_mix_of_languages_is_judged_from_both_sides(expecting):
    flow = expecting({"languages": {"en": {"at_least": {"warn": 0.8}}, "de": {"at_most": {"warn": 0.2}}}})
    _, cleaned = flow.commit([note("a", ENGLISH), note("b", GERMAN), note("c", ENGLISH)])
    assert found(cleaned) == {"languages.en.at_least": "warn", "languages.de.at_most": "warn"}
    figures = {finding.expectation: finding.figure for finding in cleaned.quality}
    assert figures == {"languages.en.at_least": pytest.approx(2 / 3), "languages.de.at_most": pytest.approx(1 / 3)}


def test_nothing_is_committed_where_an_expectation_fails(expecting):
    flow = expecting({"present": {"title": 0.9}})
    flow.commit(notes(10, title="A"))
    before = flow.store.newest(), flow.rows(), sorted((flow.store.folder / "profiles").iterdir())
    with pytest.raises(DataQualityError):
        flow.commit(notes(10))
    assert (flow.store.newest(), flow.rows(), sorted((flow.store.folder / "profiles").iterdir())) == before
    flow.commit([*notes(10, title="A"), note("new", "x", title="B")])
    assert flow.store.newest().number == 2


def test_every_failing_expectation_is_named_with_the_way_to_let_it_through(expecting):
    flow = expecting({"present": {"title": 0.9, "url": {"warn": 1}, "author": 0.5}, "length": LENGTH})
    with pytest.raises(DataQualityError) as raised:
        flow.commit(notes(10))
    assert raised.value.exit_code == 9
    said = str(raised.value)
    for expectation in ("present.title is 0, below fail 0.9", "present.author", "length.outside is 1, above fail 0"):
        assert expectation in said
    assert "present.url" not in said
    assert "feature-pipeline run --accept-quality notes" in said


LENGTH = {"minimum": 1000, "outside": 0}


def test_a_category_can_be_accepted_for_one_run(expecting):
    flow = expecting({"present": {"title": 0.9}}, accepted_quality=["notes"])
    _, cleaned = flow.commit(notes(10))
    assert [(finding.level, finding.accepted) for finding in cleaned.quality] == [("fail", True)]
    assert "accepted for this run" in str(cleaned.quality[0])
    with pytest.raises(DataQualityError):
        expecting({"present": {"title": 0.9}}).commit(notes(11))


def test_accepting_another_category_lets_nothing_through(expecting):
    with pytest.raises(DataQualityError):
        expecting({"present": {"title": 0.9}}, accepted_quality=["letters"]).commit(notes(10))


def test_a_warning_is_logged(expecting):
    lines = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    expecting({"present": {"title": {"warn": 0.9}}}).commit(notes(4))
    logger.remove(sink)
    assert lines == ["notes: present.title is 0, below warn 0.9"]


def test_too_many_rejects_are_told_before_quality(expecting):
    with pytest.raises(TooManyRejectsError):
        expecting({"present": {"title": 0.9}}).commit([note(number, None) for number in range(20)])


def test_only_categories_whose_documents_changed_are_judged(expecting, tmp_path):
    expecting({}).commit({"notes": [notes(10)], "letters": [[note("x", "dear reader")]]})
    flow = expecting({"present": {"title": 0.9}})
    _, cleaned = flow.commit({"notes": [notes(10)], "letters": [[note("x", "dear reader"), note("y", "me too")]]})
    assert (cleaned.version, cleaned.quality) == (2, [])
    with pytest.raises(DataQualityError):
        flow.commit({"notes": [notes(11)], "letters": [[note("x", "dear reader"), note("y", "me too")]]})


def test_a_run_without_changes_measures_nothing(expecting, monkeypatch):
    flow = expecting({"present": {"title": {"warn": 0.9}}})
    flow.commit(notes(10))
    monkeypatch.setattr(quality, "profile_proposal", None)
    monkeypatch.setattr(quality, "measure", None)
    _, cleaned = flow.commit(notes(10))
    assert (cleaned.version, cleaned.quality) == (1, [])


def test_without_expectations_nothing_is_judged_but_the_profile_is_kept(expecting, monkeypatch):
    monkeypatch.setattr(quality, "judge", lambda measured: [] if not measured else pytest.fail("judged"))
    flow = expecting({})
    flow.commit(notes(10))
    assert read_profiles(flow.store.folder)[1]["notes"].documents == 10


DRIFT = {"minimum_documents": 10, "documents": {"warn": 0.2, "fail": 0.5}}


class TestDrift:
    @pytest.mark.parametrize(("count", "level"), [(12, None), (8, None), (13, "warn"), (7, "warn")], ids=str)
    def test_a_change_of_the_number_of_documents_counts_up_and_down(self, expecting, count, level):
        flow = expecting({"drift": DRIFT})
        flow.commit(notes(10))
        _, cleaned = flow.commit(notes(count))
        assert found(cleaned) == ({"drift.documents": level} if level else {})

    @pytest.mark.parametrize("count", [16, 4, 0], ids=str)
    def test_too_large_a_change_fails(self, expecting, count):
        flow = expecting({"drift": DRIFT})
        flow.commit(notes(10))
        with pytest.raises(DataQualityError, match=r"drift\.documents"):
            flow.commit(notes(count))

    def test_the_first_version_and_small_categories_are_not_judged(self, expecting):
        flow = expecting({"drift": DRIFT})
        flow.commit(notes(9))
        _, cleaned = flow.commit(notes(1))
        assert (cleaned.version, cleaned.quality) == (2, [])

    def test_other_lengths_are_drift(self, expecting):
        flow = expecting({"drift": {"minimum_documents": 10, "lengths": {"warn": 0.25}}})
        flow.commit(notes(20))
        _, cleaned = flow.commit([*notes(18), note("n18", "other"), note("n19", "words")])
        assert found(cleaned) == {}
        _, cleaned = flow.commit([note(f"n{number}", "word " * 100) for number in range(20)])
        assert found(cleaned) == {"drift.lengths": "warn"}

    def test_other_words_are_drift(self, expecting):
        flow = expecting({"drift": {"minimum_documents": 10, "vocabulary": {"warn": 0.5}}})
        flow.commit([note(f"n{number}", f"river stone light {number}") for number in range(10)])
        _, cleaned = flow.commit([note(f"n{number}", f"river stone light {number}.") for number in range(10)])
        assert found(cleaned) == {}
        _, cleaned = flow.commit([note(f"n{number}", f"market engine garden {number}") for number in range(10)])
        assert found(cleaned) == {"drift.vocabulary": "warn"}

    def test_the_sample_of_the_last_version_is_taken_as_that_of_the_new_one(self, expecting, monkeypatch):
        monkeypatch.setattr("feature_store.quality.SAMPLED_DOCUMENTS", 12)
        flow = expecting({"drift": {"minimum_documents": 10, "vocabulary": {"warn": 0.01}}})
        flow.commit([note(f"n{number}", f"word{number}") for number in range(12)])
        _, cleaned = flow.commit([note(f"n{number}", f"word{number}") for number in range(13)])
        before, now = (profiles["notes"] for profiles in read_profiles(flow.store.folder).values())
        assert (before.sample_bits, now.sample_bits) == (0, 1)
        assert now.sampled < before.sampled
        added = {word: count for word, count in now.words.items() if word not in before.words}
        assert len(added) <= 1  # but for the new document, only words of the sample are compared
        assert found(cleaned) == ({"drift.vocabulary": "warn"} if added else {})


def test_what_is_equal_to_a_threshold_is_as_expected():
    measured = [
        Measured("notes", "a", AtLeast(warn=0.9, fail=0.5), 0.5),
        Measured("notes", "b", AtLeast(warn=0.9, fail=0.5), 0.9),
        Measured("notes", "c", AtMost(warn=0.1, fail=0.5), 0.5),
        Measured("notes", "d", AtMost(warn=0.1, fail=0.5), 0.1),
        Measured("notes", "e", AtMost(fail=0.5), None),
        Measured("notes", "f", AtMost(fail=0.5), 0.6),
        Measured("notes", "g", AtLeast(fail=0.5), 0.4999),
    ]
    assert [item.level for item in judge(measured)] == ["warn", "ok", "warn", "ok", "not measured", "fail", "fail"]
    assert [item.threshold for item in judge(measured)] == [0.9, None, 0.1, None, None, 0.5, 0.5]


def test_a_published_version_is_judged_against_the_configuration_of_now(expecting):
    expecting({}).commit(notes(10, title="A"))
    expecting({}).commit(notes(16))
    flow = expecting({"present": {"title": 0.9}, "drift": {"documents": {"warn": 0.1}, "minimum_documents": 1}})
    judged = {}
    for number in (1, 2):
        profiles, measured = judge_version(flow.store, flow.store.version(number), flow.config.categories)
        judged[number] = {item.expectation: (item.level, item.figure) for item in measured}
    assert judged == {
        1: {"present.title": ("ok", 1.0), "drift.documents": ("not measured", None)},
        2: {"present.title": ("fail", 0.0), "drift.documents": ("warn", 0.6)},
    }
    assert profiles["notes"].documents == 16


def test_a_category_without_documents_has_nothing_to_measure(expecting):
    flow = expecting({"present": {"title": 0.9}, "length": LENGTH, "languages": {"en": {"at_least": 0.5}}})
    flow.commit([])
    _, measured = judge_version(flow.store, flow.store.newest(), flow.config.categories)
    assert {item.level for item in measured} == {"not measured"}


@pytest.mark.parametrize("words_first", [True, False])
def test_a_vocabulary_that_comes_or_goes_warns_and_does_not_fail(expecting, words_first):
    flow = expecting({"drift": {"vocabulary": {"warn": 0.5, "fail": 1}, "minimum_documents": 1}})
    words, signs = [note("a", "river stone")], [note("a", "§§§ *** !!! ((( )))")]
    flow.commit(words if words_first else signs)
    _, cleaned = flow.commit(signs if words_first else words)
    assert [(finding.level, finding.figure) for finding in cleaned.quality] == [("warn", 1)]
