"""The configuration: every mistake is named with field, value and remedy before any work."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feature_store.config import (
    DEFAULT_CONFIG,
    CategoryConfig,
    CleaningConfig,
    PipelineConfig,
    load_config,
    validate_parameters,
)
from feature_store.errors import ConfigurationError
from feature_store.index_config import SlidingWindowConfig, WindowSize

CATEGORY = {"name": "notes", "collection": "notes", "text": "body"}
INDEX = {"name": "small", "categories": ["notes"]}


def parameters(category=None, index=None, **changes):
    return {"categories": [{**CATEGORY, **(category or {})}], "indexes": [{**INDEX, **(index or {})}], **changes}


def refusal(values):
    with pytest.raises(ConfigurationError) as caught:
        validate_parameters(values, "notes.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_default_configuration_is_valid():
    assert [category.name for category in load_config().categories] == [
        "articles",
        "posts",
        "repositories",
        "docstrings",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(parameters(clening={}), ["clening", "remove it or correct its spelling"], id="unknown key"),
        pytest.param(
            parameters(index={"chunking": {"windw": 100}}),
            ["indexes.0.chunking.windw", "100", "remove it or correct its spelling"],
            id="unknown nested key",
        ),
        pytest.param(
            parameters(index={"chunking": {"window": 100, "overlap": 51}}),
            ["indexes.0.chunking", "overlap 51", "half of window 100", "choose a smaller overlap"],
            id="overlap",
        ),
        pytest.param(
            parameters(index={"chunking": {"categories": {"notes": {"window": 10, "overlap": 6}}}}),
            ["indexes.0.chunking.categories.notes", "overlap 6", "window 10"],
            id="overlap of a category",
        ),
        pytest.param(
            parameters(index={"chunking": {"window": 7, "overlap": 0}}),
            ["indexes.0.chunking.window", "greater than or equal to 8", "7"],
            id="window too small",
        ),
        pytest.param(
            {"categories": [CATEGORY, CATEGORY]},
            ["category notes appears more than once", "give each its own name"],
            id="repeated category",
        ),
        pytest.param(
            parameters(indexes=[INDEX, INDEX]),
            ["index small appears more than once", "give each its own name"],
            id="repeated index",
        ),
        pytest.param(
            parameters(index={"categories": ["notes", "posts", "mails"]}),
            ["index small asks for unknown categories mails, posts", "known are notes"],
            id="unknown categories",
        ),
        pytest.param(
            parameters(index={"chunking": {"categories": {"posts": {"window": 100}}}}),
            ["unknown categories posts", "known are notes"],
            id="a window for an unknown category",
        ),
        pytest.param(parameters(category={"format": "pdf"}), ["categories.0.format", "'pdf'", "markdown"], id="format"),
        pytest.param(parameters(category={"name": "Notes"}), ["categories.0.name", "'Notes'"], id="name"),
        pytest.param(parameters(category={"text": []}), ["categories.0.text", "at least 1"], id="no text"),
        pytest.param(parameters(category={"title": "$where"}), ["categories.0.title", "'$where'"], id="operator"),
        pytest.param({"categories": []}, ["categories", "at least 1"], id="no categories"),
        pytest.param({}, ["categories", "required"], id="nothing"),
    ],
)
def test_a_mistake_is_named_with_field_value_and_remedy(values, expected):
    message = refusal(values)
    assert "notes.yaml" in message
    for part in expected:
        assert part in message


def test_all_mistakes_are_reported_at_once():
    message = refusal(parameters(category={"format": "pdf"}, index={"upsert_batch": 0}, wrong=1))
    assert len(message.splitlines()) == 4


def test_an_overlap_of_exactly_half_the_window_is_allowed():
    assert SlidingWindowConfig(window=100, overlap=50).overlap == 50


def test_a_configuration_cannot_be_changed_once_it_is_valid():
    config = validate_parameters(parameters(), "notes.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.categories = []


def test_a_single_text_path_may_be_written_without_a_list():
    assert CategoryConfig(**CATEGORY).text == ["body"]


def test_a_category_reads_all_its_paths_once():
    category = CategoryConfig(
        name="notes", collection="notes", text=["b", "a.x"], title="a.x", url="u", metadata={"one": "b", "two": "m.k"}
    )
    assert category.paths() == ["a.x", "b", "m.k", "u"]


def test_the_size_of_a_category_overrides_that_of_the_index():
    chunking = SlidingWindowConfig(window=100, overlap=10, categories={"notes": WindowSize(window=50, overlap=5)})
    assert chunking.size_for("notes") == WindowSize(window=50, overlap=5)
    assert chunking.size_for("posts") == WindowSize(window=100, overlap=10)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("parameter: {}", ["unknown key(s) parameter", "Allowed are", "parameters"], id="top-level typo"),
        pytest.param("parameters: [", ["not valid YAML"], id="bad YAML"),
        pytest.param("\x00", ["not valid YAML"], id="a zero byte"),
        pytest.param("- 1", ["holds no mapping", "`parameters:`"], id="a list"),
        pytest.param("", ["holds no mapping", "`parameters:`"], id="empty"),
        pytest.param("parameters: [1]", ["`parameters` is no mapping"], id="parameters is a list"),
        pytest.param("{1: 2}", ["unknown key(s) 1"], id="a number as key"),
    ],
)
def test_an_unusable_file_is_named_with_its_problem(tmp_path, content, expected):
    path = tmp_path / "notes.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    for part in [str(path), *expected]:
        assert part in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "notes.yaml"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigurationError, match=r"notes\.yaml is not valid YAML"):
        load_config(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."], ids=["missing file", "folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"Cannot read .*: .*\. Give the path of a YAML file\."):
        load_config(tmp_path / name)


def written(path, **values):
    path.write_text(yaml.safe_dump({"parameters": values}), encoding="utf-8")
    return path


def test_a_file_replaces_lists_of_the_default_whole(tmp_path):
    index = {"name": "posts_index", "categories": ["posts"]}
    config = load_config(written(tmp_path / "posts.yaml", indexes=[index]))
    assert [item.name for item in config.indexes] == ["posts_index"]
    assert config.categories == load_config().categories


def test_a_file_merges_mappings_into_the_default_key_by_key(tmp_path):
    default = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["parameters"]["cleaning"]
    config = load_config(written(tmp_path / "strict.yaml", cleaning={"max_rejected_share": 0.01}))
    assert config.cleaning == CleaningConfig(**{**default, "max_rejected_share": 0.01})
    assert "max_characters" in default


def test_a_file_with_other_run_settings_only_is_the_default(tmp_path):
    path = tmp_path / "named.yaml"
    path.write_text("run_name: nightly", encoding="utf-8")
    assert load_config(path) == load_config()


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_the_fingerprint_does_not_depend_on_the_order_of_keys():
    values = parameters(category={"metadata": {"one": "a", "two": "b"}, "title": "t"})
    assert (
        validate_parameters(reversed_keys(values), "x").fingerprint() == validate_parameters(values, "x").fingerprint()
    )


def test_the_fingerprint_changes_with_any_value():
    values = [parameters(), parameters(category={"title": "t"}), parameters(index={"upsert_batch": 7})]
    assert len({validate_parameters(value, "x").fingerprint() for value in values}) == 3


@given(st.floats(0, 1), st.integers(0, 100))
def test_limits_of_rejected_shares_clean_nothing_anew(share, minimum):
    changed = CleaningConfig(max_rejected_share=share, rejected_share_minimum=minimum)
    assert changed.fingerprint(1) == CleaningConfig().fingerprint(1)


def test_rules_and_code_that_clean_differently_have_another_fingerprint():
    fingerprints = {
        CleaningConfig().fingerprint(1),
        CleaningConfig().fingerprint(2),
        CleaningConfig(max_characters=7).fingerprint(1),
        CleaningConfig(min_characters=7).fingerprint(1),
    }
    assert len(fingerprints) == 4


def config_of(**category) -> PipelineConfig:
    return validate_parameters(parameters(category), "a test")


CAPTURES = [
    ("hash", {"mode": "hash"}),
    ({"mode": "timestamp", "field": "at"}, {"mode": "timestamp", "field": "at", "overlap_seconds": 60.0}),
    ({"mode": "outbox"}, {"mode": "outbox", "outbox": "outbox"}),
    ({"field": "at"}, {"mode": "auto", "field": "at"}),
]


@pytest.mark.parametrize(("given", "expected"), CAPTURES, ids=str)
def test_a_capture_is_a_mode_or_a_mapping(given, expected):
    (category,) = config_of(capture=given).categories
    assert expected.items() <= category.capture.model_dump().items()


def test_capture_is_automatic_where_nothing_is_said():
    assert config_of().categories[0].capture.mode == "auto"


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ({"capture": "timestamp"}, "needs `field`"),
        ({"capture": {"mode": "hash", "field": "at"}}, "`field` means nothing to capture mode hash"),
        ({"capture": {"mode": "log", "outbox": "changes"}}, "`outbox` means nothing to capture mode log"),
        ({"capture": "oplog"}, "categories.0.capture.mode"),
        ({"capture": {"mode": "timestamp", "field": "at", "compare_ids": False}}, "deletions need `deleted_field`"),
        ({"capture": {"mode": "timestamp", "field": "at", "overlap_seconds": -1}}, "overlap_seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_capture_that_cannot_work_is_refused(category, message):
    with pytest.raises(ConfigurationError, match=message):
        config_of(**category)


def test_how_documents_are_captured_does_not_change_what_becomes_of_them():
    plain = config_of().categories[0]
    other = config_of(capture={"mode": "timestamp", "field": "at"}, deleted_field="gone", optional=True).categories[0]
    assert plain.mapping() == other.mapping()
    assert config_of(text=["body", "more"]).categories[0].mapping() != plain.mapping()


def test_options_of_one_run_are_no_part_of_the_fingerprint():
    plain = config_of()
    once = PipelineConfig(**{**plain.model_dump(), "options": {"capture": "hash", "approved_deletions": {"notes": 7}}})
    assert once.fingerprint() == plain.fingerprint()


def test_a_configuration_survives_json():
    config = config_of(capture={"mode": "outbox", "outbox": "changes"})
    assert PipelineConfig.model_validate(config.model_dump(mode="json")) == config
    assert PipelineConfig.model_validate(config_of().model_dump(mode="json")) == config_of()


def test_an_approval_of_an_unknown_category_is_refused():
    with pytest.raises(ConfigurationError, match="unknown categories nots"):
        validate_parameters({**parameters(), "options": {"approved_deletions": {"nots": 5}}}, "a test")


QUALITY = """
present:
  url: 0.99
  author: {warn: 0.9, fail: 0.5}
  metadata.topic: {warn: 0.8}
length: {minimum: 50, maximum: 200000, outside: {warn: 0.01, fail: 0.1}}
languages:
  en: {at_least: {warn: 0.9, fail: 0.5}}
  "no": {at_most: 0.1}
  unknown: {at_most: 0.3}
drift:
  documents: {warn: 0.2, fail: 2}
  lengths: 0.25
  vocabulary: {warn: 0.1}
"""


def quality(text):
    return parameters({"metadata": {"topic": "topic"}, "quality": yaml.safe_load(text)})


def test_expectations_read_as_they_are_written():
    expected = validate_parameters(quality(QUALITY), "notes.yaml").categories[0].quality
    assert (expected.present["url"].warn, expected.present["url"].fail) == (None, 0.99)
    assert (expected.present["author"].warn, expected.present["author"].fail) == (0.9, 0.5)
    assert (expected.length.minimum, expected.length.maximum, expected.length.outside.fail) == (50, 200_000, 0.1)
    assert set(expected.languages) == {"en", "no", "unknown"}
    assert (expected.drift.documents.fail, expected.drift.lengths.fail, expected.drift.vocabulary.warn) == (
        2,
        0.25,
        0.1,
    )
    assert expected.drift.minimum_documents == 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("present: {link: 0.9}", ["categories.0", "unknown fields link", "known are title, url", "metadata.topic"]),
        ("present: {metadata.tpic: 0.9}", ["unknown fields metadata.tpic"]),
        ("present: {url: 90}", ["quality.present.url.fail", "90", "less than or equal to 1"]),
        ("present: {url: {}}", ["quality.present.url", "neither `warn` nor `fail`"]),
        ("present: {url: true}", ["quality.present.url", "True"]),
        ("present: {url: {warn: 0.5, fail: 0.9}}", ["quality.present.url", "`warn` 0.5 is below `fail` 0.9", "raise"]),
        ("present: {url: {worn: 0.5}}", ["quality.present.url.worn", "remove it or correct its spelling"]),
        ("length: {minimum: 5}", ["quality.length.outside"]),
        ("length: {outside: 0.1}", ["quality.length", "`minimum` or `maximum` must be given"]),
        ("length: {minimum: 9, maximum: 5, outside: 0}", ["`minimum` 9 is above `maximum` 5"]),
        ("length: {minimum: 9, outside: 2}", ["quality.length.outside.fail", "2"]),
        ("languages: {english: {at_least: 0.5}}", ["quality.languages.english"]),
        ("languages: {no: {at_least: 0.5}}", ["quality.languages", "False"]),
        ("languages: {en: {}}", ["quality.languages.en", "`at_least` or `at_most` must be given"]),
        ("languages: {en: {at_least: 0.9, at_most: 0.1}}", ["languages.en", "`at_least` 0.9 is above `at_most` 0.1"]),
        ("drift: {}", ["quality.drift", "`documents`, `lengths` or `vocabulary` must be given"]),
        (
            "drift: {lengths: {warn: 0.3, fail: 0.2}}",
            ["quality.drift.lengths", "`warn` 0.3 is above `fail` 0.2", "lower"],
        ),
        ("drift: {vocabulary: 1.5}", ["quality.drift.vocabulary.fail", "1.5"]),
        ("drift: {documents: -1}", ["quality.drift.documents.fail", "-1"]),
        ("drift: {documents: .inf}", ["quality.drift.documents.fail", "inf"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_expectations_that_cannot_be_meant_are_named(text, expected):
    message = refusal(quality(text))
    assert all(part in message for part in expected), message


def test_expectations_clean_no_document_again():
    with_quality = validate_parameters(quality(QUALITY), "notes.yaml")
    without = validate_parameters(quality("{}"), "notes.yaml")
    assert with_quality.categories[0].mapping() == without.categories[0].mapping()
    assert with_quality.fingerprint() != without.fingerprint()


def test_only_categories_that_there_are_can_be_accepted():
    assert "accepted_quality names unknown categories notse" in refusal(
        parameters(options={"accepted_quality": ["notse"]})
    )
