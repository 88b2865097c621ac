"""Fixtures that several test files use."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

# as many threads as there are processes would be too many: set before torch is imported, and for what tests start
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_xdist_auto_num_workers() -> int:
    """One more process than processors: some tests wait, for servers, browsers and killed processes."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray's tests wait longest, for processes that are killed: others are done meanwhile if they begin first."""
    items.sort(key=lambda item: "test_ray" not in item.nodeid)


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def published() -> Path:
    """Folder of real published files, which this project does not carry; see skip reason for where it is sought."""
    beside = ROOT.parent / "shared" / "published"
    folder = Path(os.environ.get("GEOGRAPH_PUBLISHED") or beside)
    if not folder.is_dir():
        pytest.skip(
            "no published files: neither the environment variable GEOGRAPH_PUBLISHED "
            "nor ../shared/published beside the checkout names a folder"
        )
    return folder


class End(NamedTuple):
    """How a command ended."""

    status: int
    out: str  # standard output
    err: str  # standard error


@pytest.fixture
def end_of(monkeypatch, capsys) -> Callable[..., End]:
    """A command without a process of its own: how it ends."""

    def run(*words: object) -> End:
        from geograph_types.cli.root import main

        monkeypatch.setattr(sys, "argv", ["geograph-types", *map(str, words)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as end:
            main()
        said, code = capsys.readouterr(), end.value.code
        if isinstance(code, str):  # Python itself writes these words, and ends with 1
            return End(1, said.out, f"{said.err}{code}")
        return End(code or 0, said.out, said.err)

    return run


@pytest.fixture
def here(end_of) -> Callable[..., tuple[str, str]]:
    """The same where the end is known: what it wrote to standard output, and to standard error."""

    def run_here(*words: object, status: int = 0) -> tuple[str, str]:
        end = end_of(*words)
        assert end.status == status, end.err
        return end.out, end.err

    return run_here


BROWSERS = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """A browser of the Chromium family, for the tests of one file; a reason to skip where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    program = next(filter(None, (shutil.which(name) for name in BROWSERS if name)), None)
    if program is None:
        pytest.skip("no browser: neither CHROMIUM nor chromium, chromium-browser, google-chrome is there")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()
