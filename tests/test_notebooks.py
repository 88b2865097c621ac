"""The shape that every page shares; what the pages compute is tested by nbdev_test, which runs them."""

import json
import re

import pytest
from conftest import ROOT
from nbdev.doclinks import nbglob

PAGES = sorted(ROOT / path for path in nbglob(ROOT / "nbs"))
MACHINE_PATH = re.compile(r"(?<![\w/.])/(?:root|tmp|home|Users|private)/")


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_notebooks_are_found():
    """nbdev_test succeeds where it finds nothing to test."""
    assert len(PAGES) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page):
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    assert re.fullmatch(r"# [^\n]+\n+> [^\n]+", source(cells[0])), (
        "a page opens with a title and, below it, a > line"
    )
    assert "%pip install" in source(cells[1]), (
        "the second cell installs the package in Colab; see CONTRIBUTING.md"
    )
    if any("default_exp" in source(cell) for cell in cells):
        assert "nbdev_export()" in source(cells[-1]), "the page of a module ends by exporting itself"
    for cell in cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error" and output.get("name") != "stderr", (
                f"noise below {source(cell)}"
            )
            texts = {
                kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")
            }
            assert not MACHINE_PATH.search(json.dumps([texts, output.get("text")])), (
                f"a path below {source(cell)}"
            )
