"""The search command: what it asks the retriever for, and how it shows what comes back."""

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from commands.search import search
from feature_store.errors import ConfigurationError
from feature_store.index import open_qdrant
from feature_store.settings import load_settings
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.stand_in import HashEncoder

BODY = "A zebra crossed the river at night. Nobody saw it, for the harbour slept." + " The ferry was late again." * 12


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(folder))
        patch.delenv("QDRANT_URL", raising=False)
        with open_qdrant(load_settings()) as client:
            flow = Flow(folder, notes_config(), client)
            flow.load_encoder = lambda config: HashEncoder()
            flow.run([note(n, f"{BODY} Number {n}.", title=f"Note {n}", topic=f"t{n % 2}") for n in range(6)])
        yield folder


@pytest.fixture
def ask(installation, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(installation))
    monkeypatch.delenv("QDRANT_URL", raising=False)
    monkeypatch.setattr("inference.retriever.load_encoder", lambda config: HashEncoder())
    index = {"name": "notes_index", "categories": ["notes"], "chunking": {"window": 32, "overlap": 8}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"parameters": {"categories": [CATEGORY], "indexes": [index]}}))
    monkeypatch.setattr("commands.search.started", load_settings)
    application = typer.Typer()
    application.command()(search)

    def asked(*arguments):
        result = CliRunner().invoke(application, [*arguments, "-c", str(config)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return asked


def found(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_results_show_score_source_and_text(ask):
    shown = " ".join(ask("zebra river", "-k", "2", "--alpha", "0").stdout.split())
    assert "1. Note" in shown
    assert "2. Note" in shown
    assert "3. Note" not in shown
    assert "A zebra crossed the river" in shown


def test_json_has_everything_of_each_result(ask):
    (only,) = found(ask("zebra number", "-k", "1", "--json"))
    assert only["scores"]["fused"] == only["score"]
    assert only["text"] == only["payload"]["text"]
    assert only["spans"] == [[only["start"], only["end"]]]


def test_filters_may_be_repeated_and_are_checked(ask):
    results = found(ask("zebra", "-k", "10", "--json", "--filter", "topic=t1", "--filter", "source_id!=int:1"))
    assert {result["title"] for result in results} == {"Note 3", "Note 5"}
    with pytest.raises(ConfigurationError, match="no payload index for the field 'colour'"):
        ask("zebra", "--filter", "colour=red")
    with pytest.raises(ConfigurationError, match="is not a filter"):
        ask("zebra", "--filter", "colour")


def test_alpha_and_fusion_reach_the_search(ask):
    (keywords,) = found(ask("zebra", "-k", "1", "--json", "--alpha", "0"))
    (vectors,) = found(ask("zebra", "-k", "1", "--json", "--alpha", "1"))
    (ranks,) = found(ask("zebra", "-k", "1", "--json", "--rrf"))
    assert [result["scores"]["dense"] is None for result in (keywords, vectors, ranks)] == [True, False, True]
    assert [result["scores"]["keywords"] is None for result in (keywords, vectors, ranks)] == [False, True, True]
    with pytest.raises(ConfigurationError, match="no alpha"):
        ask("zebra", "--rrf", "--alpha", "0.5")
    assert ask("zebra", "--alpha", "1.5").exit_code == 2


def test_a_context_is_shown_with_its_sources_and_tokens(ask):
    context = found(ask("zebra number", "--context", "30", "--json"))
    assert context["tokens"] <= 30
    assert context["text"]
    shown = ask("zebra number", "--context", "30").stdout
    assert shown.startswith(f"[1] {context['results'][0]['title']}")
    assert f"{context['tokens']} tokens" in shown


def test_neighbours_widen_results(ask):
    (alone,), (wide,) = (
        found(ask("zebra", "-k", "1", "--json", "--alpha", "0", *more)) for more in ([], ["--neighbours", "2"])
    )
    assert wide["start"] <= alone["start"] <= alone["end"] <= wide["end"]
    assert len(wide["text"]) > len(alone["text"])


def test_nothing_found_is_said(ask):
    assert "No results." in ask("zebra", "--filter", "topic=none").stdout
    assert "No results." in ask("zebra", "--context", "50", "--filter", "topic=none").stdout
    assert found(ask("zebra", "--filter", "topic=none", "--json")) == []


def test_an_index_that_does_not_serve_is_an_error(ask):
    with pytest.raises(ConfigurationError, match="no index 'unknown'"):
        ask("zebra", "--index", "unknown")
