"""Opening pages in headless Chromium, as the dashboard shows them: in a frame that may run no script."""

import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

QUIET = "before any script"
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--window-size=1100,1600",
    "--virtual-time-budget=10000", "--enable-logging=stderr",
)  # fmt: skip


def find_chromium() -> str:
    """Return the command of an installed Chromium; without one the test is skipped."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    return found


def framed(*pages: str) -> str:
    """Return a page that shows others as the dashboard does, one below the other."""
    frames = (
        f'<iframe sandbox="" style="width:1060px;height:1560px" srcdoc="{escape(page)}"></iframe>' for page in pages
    )
    title = f"<meta charset=utf-8><title>{QUIET}</title>"
    return f"<!doctype html><html><head>{title}</head><body>{''.join(frames)}</body></html>"


def open_page(folder: Path, content: str, *options: str) -> tuple[str, str]:
    """Open a page from a file; return the document as it is after all scripts, and what the browser logged."""
    page = folder / "page.html"
    page.write_text(content, encoding="utf-8")
    finished = subprocess.run(
        [find_chromium(), *_OPTIONS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return finished.stdout, finished.stderr


def take_screenshot(folder: Path, content: str, *options: str) -> bytes:
    """Return a picture of a page, as PNG."""
    open_page(folder, content, f"--screenshot={folder / 'page.png'}", *options)
    return (folder / "page.png").read_bytes()
