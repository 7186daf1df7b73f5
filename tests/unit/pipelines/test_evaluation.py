"""The configuration of the evaluation pipeline."""

import pytest
import yaml

from feature_store.errors import ConfigurationError
from inference.evaluation.config import DEFAULT_EVALUATION_CONFIG, load_evaluation_config
from inference.evaluation.golden import read_golden
from pipelines.evaluation import checked_configuration, retrieval_evaluation_pipeline


def write(tmp_path, content):
    path = tmp_path / "evaluation.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_default_configuration_names_queries_that_can_be_read():
    evaluation = load_evaluation_config()
    assert evaluation.data.parent == DEFAULT_EVALUATION_CONFIG.parent
    assert len(read_golden(evaluation.data)) >= 10


def test_data_is_relative_to_the_file_and_stays_where_it_is(tmp_path):
    path = write(tmp_path, {"parameters": {"evaluation": {"index": "notes", "data": "q.jsonl"}}, "tags": ["x"]})
    rewritten = checked_configuration(path)
    assert rewritten.parent != tmp_path
    assert load_evaluation_config(rewritten) == load_evaluation_config(path)
    assert load_evaluation_config(path).data == tmp_path / "q.jsonl"
    assert yaml.safe_load(rewritten.read_text())["tags"] == ["x"]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "must have `evaluation` and nothing else under `parameters`; it has nothing"),
        ({"evaluation": {"index": "a", "data": "b"}, "indexes": []}, "it has evaluation, indexes"),
        ({"evaluation": {"index": "a", "dta": "b"}}, "dta: Extra inputs"),
        ({"evaluation": {"index": "a", "data": "b", "format": "trec"}}, "format: Input should be 'golden' or 'beir'"),
        ({"evaluation": None}, "index: Field required"),
    ],
    ids=str,
)
def test_a_misspelt_configuration_is_refused(tmp_path, parameters, told):
    path = write(tmp_path, {"parameters": parameters})
    with pytest.raises(ConfigurationError) as error:
        retrieval_evaluation_pipeline.with_options(config_path=str(path))
    assert told in str(error.value)
    assert str(path) in str(error.value)
