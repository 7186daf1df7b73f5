"""The report page: what it collects, that it needs nothing else, and that no text of it is taken for markup."""

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
import typer
from bs4 import BeautifulSoup
from typer.testing import CliRunner

from commands import report as command
from feature_store.config import validate_parameters
from feature_store.errors import ConfigurationError, LockedError
from feature_store.exports import ExportRecord, save_export
from feature_store.names import add_tag
from feature_store.versions import now
from pipelines import report as report_module
from pipelines.report import collect_report, write_report
from pipelines.report_page import render_report
from tests.flow import CATEGORY, Flow, note, notes_config
from tests.stand_in import HashEncoder
from tests.support import write_config
from tests.views import EVIL

START = datetime(2026, 11, 1, 8, tzinfo=UTC)


def write_run(settings, number, **changes):
    settings.reports_folder.mkdir(parents=True, exist_ok=True)
    content = {
        "run_id": f"run-{number}",
        "finished_at": (START + timedelta(hours=number)).isoformat(),
        "version": number,
        "version_before": number - 1,
        "seconds": {"extract": 1.5, "embed": 2.0},
        "indexes": [{"embedded": 7, "written": 8}, {"embedded": 1, "a_later_field": 1}],
        "a_later_field": {},
        **changes,
    }
    path = settings.reports_folder / f"run-{number}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    os.utime(path, (number, number))


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """Two versions, the second tagged; an export; three runs."""
    flow = Flow(tmp_path / "data", notes_config())
    flow.load_encoder = lambda config: HashEncoder()
    flow.commit([note("a", "a text"), note("b", "a text")])
    flow.commit([note("a", "a text"), note("c", EVIL, title=EVIL)])
    flow.client.close()
    add_tag(flow.store.folder, flow.store.version(2), "golden")
    record = ExportRecord(
        export_id="e" * 12, created_at=now(), version=2, version_run_id="1", store_id="s", format="jsonl",
        folder=tmp_path, options={}, counts={"documents": 2, "tokens": 70},
    )  # fmt: skip
    save_export(flow.store.folder, record)
    for number in (2, 1, 3):
        write_run(flow.settings, number, version_before=number if number == 3 else number - 1)
    return flow


def without_script(page):
    return BeautifulSoup(page, "html.parser")


def test_a_report_tells_versions_runs_exports_and_indexes(installation):
    report = collect_report(installation.settings, installation.config)
    assert [(row.number, row.documents, row.changes["added"], row.tags) for row in report.versions] == [
        (1, 2, 2, []),
        (2, 2, 1, ["golden"]),
    ]
    assert [(row.run_id, row.embedded, row.written, row.made_a_version) for row in report.runs] == [
        ("run-1", 8, 8, True),
        ("run-2", 8, 8, True),
        ("run-3", 8, 8, False),
    ]
    assert [(row.export_id, row.documents, row.tokens) for row in report.exports] == [("e" * 12, 2, 70)]
    assert [(index.index, index.lag) for index in report.indexes] == [("notes_index", 3)]
    assert {row.version for row in report.quality} <= {1, 2}
    assert report.notes == []


def test_a_run_tells_the_speed_of_its_model_and_its_memory_where_they_were_noted(installation):
    use = {"processor_seconds": 1.0, "peak_memory": 500_000_000}
    embed = {"stage": "embed", "seconds": 2.0, "tokens": 3000, "gemm_share": 0.5, "use": use}
    again = {"stage": "embed", "seconds": 1.0, "tokens": 3000, "gemm_share": 0.2}
    write_run(installation.settings, 3, stages=[{"stage": "extract", "seconds": 9.0}, embed, again])
    report = collect_report(installation.settings, installation.config)
    assert (report.runs[0].token_rate, report.runs[0].gemm_share, report.runs[0].peak_memory) == (None, None, None)
    told = report.runs[2]
    assert (told.token_rate, round(told.gemm_share or 0, 3), told.peak_memory) == (2000.0, 0.4, 500_000_000)
    done, cost = without_script(render_report(report)).select("#runs table")
    assert len(done.select("tbody tr")) == 3
    cells = [[cell.get_text() for cell in row.find_all("td")][-3:] for row in cost.select("tbody tr")]
    assert cells == [["2,000", "40%", "500 MB"], ["", "", "-"], ["", "", "-"]]


def test_only_the_newest_runs_are_told_and_damaged_ones_are_named(installation, monkeypatch):
    monkeypatch.setattr(report_module, "RUNS", 2)
    (installation.settings.reports_folder / "run-3.json").write_text("{", encoding="utf-8")
    os.utime(installation.settings.reports_folder / "run-3.json", (3, 3))
    report = collect_report(installation.settings, installation.config)
    assert [row.run_id for row in report.runs] == ["run-2"]
    assert report.notes == ["The report of a run in run-3.json is damaged; it is left out."]


def test_while_a_run_has_qdrant_open_all_the_rest_is_told(installation, monkeypatch):
    def refuse(settings, config):
        raise LockedError("The embedded Qdrant is open in another process.", "Wait.")

    monkeypatch.setattr(report_module, "describe_status", refuse)
    report = collect_report(installation.settings, installation.config)
    assert report.indexes is None
    assert "open in another process. Wait." in report.notes[0]
    assert len(report.versions) == 2
    assert "They could not be asked." in without_script(render_report(report)).get_text()


def test_a_report_of_an_empty_installation_says_what_to_do(tmp_path):
    flow = Flow(tmp_path / "data", notes_config())
    flow.client.close()
    page = render_report(collect_report(flow.settings, flow.config))
    assert "There is no version yet: run the feature pipeline." in without_script(page).get_text()
    assert "<script" not in page
    assert "script-src 'none'" in page


def test_the_page_is_whole_without_script_and_network(installation):
    page = render_report(collect_report(installation.settings, installation.config))
    read = without_script(page)
    assert [heading.get_text() for heading in read.find_all("h2")] == [
        "Versions",
        "Runs",
        "Indexes",
        "Exports",
        "Quality",
    ]
    assert {link["href"].removeprefix("#") for link in read.select("nav a")} == {
        section["id"] for section in read.find_all("section")
    }
    assert all(plot.find("svg") is not None for plot in read.select("div.plot"))
    assert {"plot-documents", "plot-changes", "plot-seconds", "plot-texts"} <= {
        plot["id"] for plot in read.select("div.plot")
    }
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in read.select("#versions tbody tr")]
    assert rows[0][0] == "2"
    assert rows[0][-1] == "golden"
    assert read.find(["link", "img", "iframe"]) is None
    assert not read.find(src=True)
    assert "default-src 'none'" in page


def test_no_text_of_the_page_is_taken_for_markup(installation):
    report = collect_report(installation.settings, installation.config)
    evil = report.versions[1].model_copy(update={"message": EVIL, "tags": [EVIL], "releases": [EVIL]})
    page = render_report(report.model_copy(update={"versions": [report.versions[0], evil], "notes": [EVIL]}))
    clean = render_report(report)
    assert page.count("<script") == clean.count("<script") == 3
    read = without_script(page)
    assert read.find(["img", "link", "iframe"]) is None
    data = read.find(id="specifications").get_text()
    assert "<" not in data
    assert "<img src=x onerror=alert(1)>" in json.dumps(json.loads(data)["documents"])


def test_scripts_run_by_their_hash_alone(installation):
    page = render_report(collect_report(installation.settings, installation.config))
    policy = without_script(page).find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    allowed = re.findall(r"'sha256-[^']+'", policy)
    assert len(allowed) == 2
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


def test_a_page_that_cannot_be_written_is_told_with_the_file(installation, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"cannot be written to .*/file/report\.html"):
        write_report(installation.settings, installation.config, tmp_path / "file" / "report.html")


def test_the_command_writes_the_page_and_tells_where(installation, tmp_path, monkeypatch):
    parameters = {"categories": [CATEGORY], "indexes": installation.config.model_dump(mode="json")["indexes"]}
    validate_parameters(parameters, "a test")
    config = write_config(tmp_path / "notes.yaml", parameters)
    monkeypatch.setenv("DATA_DIR", str(installation.settings.data_dir))
    opened = []
    monkeypatch.setattr(report_module, "open_report", opened.append)
    application = typer.Typer()
    application.command()(command.report)
    result = CliRunner().invoke(application, ["-c", str(config), "--open"])
    assert result.exit_code == 0, result.output
    default = installation.settings.data_dir / "report.html"
    assert "".join(result.stdout.split()) == str(default)
    assert opened == [default]
    file = tmp_path / "other" / "page.html"
    result = CliRunner().invoke(application, ["-c", str(config), "--json", "--output", str(file)])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["file"] == str(file)
    assert [row["number"] for row in told["versions"]] == [1, 2]
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
