"""The views of a real run, in the browser that shows them: headless Chromium, in the dashboard's frame and without."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from tests.chromium import QUIET, find_chromium, framed, open_page, take_screenshot
from tests.e2e.installation import Installation
from tests.support import fill_warehouse, make_notes
from tests.views import Reader

RAN = "a script ran"
DRAWN = {
    "raw_documents": ["found.html"],
    "cleaned_documents": ["charts.html", "rejects.html", "duplicates.html", "samples.html"],
    "chunks": ["chunks.html"],
    "embeddings": ["map.html"],
    "index_report": ["reconciled.html"],
    "run_report": ["report.html"],
}
WITH_CHARTS = {"found.html", "charts.html", "chunks.html", "map.html", "report.html"}


class Listener(ThreadingHTTPServer):
    """Notes whatever is asked of it, in threads: a browser also opens connections on which it asks nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Noting)
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Noting(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def nasty(address: str) -> str:
    """Return markup that runs and loads something wherever it is taken for markup."""
    run = f"console.log('{RAN}')"
    return (
        f'</title></style></pre></svg></script><script>{run}</script><img src="{address}/image" onerror="{run}">'
        f'<link rel=stylesheet href="{address}/style"><iframe src="{address}/frame"></iframe><svg onload="{run}">'
        f'<a href="javascript:{run}">x</a> [x](javascript:{run}) ![x]({address}/markdown) <b onmouseover="{run}">'
    )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, listener: Listener) -> Installation:
    find_chromium()
    made = Installation(tmp_path_factory.mktemp("views"), tiny_model)
    evil = nasty(listener.address)
    notes = make_notes(25, paragraphs=8)
    text = f"# {evil}\n\n`{evil}`\n\n    {evil}\n\n" + "A word. " * 200
    notes += [
        {"_id": evil[:200], "title": evil, "link": f"javascript:console.log('{RAN}')", "topic": evil, "body": text},
        {"_id": "twin", "title": evil, "link": evil, "topic": evil, "body": text},
        {"_id": f"bad {evil[:200]}", "title": evil, "body": None},
    ]
    fill_warehouse(made.settings, notes)
    code, output = made.execute("zenml", "pipeline", "run", "feature_pipeline", "-c", str(made.config))
    assert code == 0, output
    return made


@pytest.fixture(scope="module")
def artifacts(installation: Installation) -> dict[str, Any]:
    code, output = installation.execute("python", "tests/e2e/read_artifacts.py")
    assert code == 0, output
    read: dict[str, Any] = json.loads(output[output.index("{") :])
    return read


@pytest.fixture(scope="module")
def pages(artifacts: dict[str, Any]) -> dict[str, str]:
    """The HTML views, by artifact and name."""
    return {
        f"{artifact}/{view['name']}": view["content"]
        for artifact in DRAWN
        for view in artifacts[artifact]["views"]
        if view["type"] == "html"
    }


def test_the_browser_of_these_tests_tells_what_ran_and_what_was_loaded(tmp_path: Path, listener: Listener) -> None:
    _, log = open_page(tmp_path, f"<!doctype html><p>x</p>{nasty(listener.address)}", "--dump-dom")
    assert RAN in log
    assert "/image" in listener.asked
    listener.asked.clear()


def test_every_artifact_has_its_views_and_single_values_as_metadata(artifacts: dict[str, Any]) -> None:
    for artifact, names in DRAWN.items():
        views = [view["name"] for view in artifacts[artifact]["views"]]
        assert views[0] == "summary.md"
        assert set(names) <= set(views)
        values = artifacts[artifact]["metadata"].values()
        assert {type(value) for value in values} <= {str, int, float, bool}, artifact
        assert all(len(view["content"].encode()) <= 1_000_000 for view in artifacts[artifact]["views"])
    assert artifacts["run_report"]["loaded"] == "RunReport"
    assert artifacts["cleaned_documents"]["metadata"]["documents"] == 27
    assert artifacts["embeddings"]["metadata"]["embedded"] > 27


@pytest.mark.parametrize("name", [f"{artifact}/{name}" for artifact, names in DRAWN.items() for name in names])
def test_a_view_shows_headings_and_charts_and_runs_and_loads_nothing(
    name: str, pages: dict[str, str], listener: Listener, tmp_path: Path
) -> None:
    Reader(pages[name])
    document, log = open_page(tmp_path, pages[name], "--dump-dom")
    page = BeautifulSoup(document, "html.parser")
    assert page.find("h1") is not None
    assert page.find(["script", "img", "link", "iframe", "a"]) is None
    if name.rsplit("/", 1)[1] in WITH_CHARTS:
        assert page.select("figure svg title")
    assert RAN not in log
    assert "Content Security Policy" not in log  # nothing even tried
    assert listener.asked == []


def test_all_views_are_drawn_in_the_frame_of_the_dashboard(
    pages: dict[str, str], listener: Listener, tmp_path: Path
) -> None:
    empty = take_screenshot(tmp_path, framed(""))
    document, log = open_page(tmp_path, framed(*pages.values()), "--dump-dom")
    assert f"<title>{QUIET}</title>" in document
    assert document.count("<iframe") == len(pages) == sum(map(len, DRAWN.values()))
    assert RAN not in log
    shown = take_screenshot(tmp_path, framed(pages["cleaned_documents/charts.html"]))
    assert len(shown) > 2 * len(empty)
    dark = take_screenshot(
        tmp_path, framed(pages["cleaned_documents/charts.html"]), "--blink-settings=preferredColorScheme=0"
    )
    assert dark != shown
    assert listener.asked == []


def test_the_report_draws_its_charts_from_a_file_without_network(
    installation: Installation, listener: Listener, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    code, output = installation.execute(
        "feature-pipeline", "report", "--output", str(file), "--json", "-c", str(installation.config)
    )
    assert code == 0, output
    told = json.loads(output[output.index("{") :])
    assert told["file"] == str(file)
    assert [row["documents"] for row in told["versions"]] == [27]
    document, log = open_page(tmp_path, file.read_text(encoding="utf-8"), "--dump-dom")
    page = BeautifulSoup(document, "html.parser")
    plots = page.select("div.plot")
    assert len(plots) >= 4
    assert all(plot.get("data-drawn") == "by script" and plot.find("svg") is not None for plot in plots), log
    headings = [heading.get_text() for heading in page.find_all("h2")]
    assert headings == ["Versions", "Runs", "Indexes", "Exports", "Quality"]
    assert "CONSOLE" not in log
    assert listener.asked == []
