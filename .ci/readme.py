#!/usr/bin/env python
"""Makes README.md and its figures from nbs/index.ipynb, as `nbdev_readme` does but without Quarto.

    python .ci/readme.py            writes README.md and index_files/
    python .ci/readme.py --check    exits 1, with the difference, when they are out of step

Quarto names figures index_files/figure-commonmark/cell-N-output-M.png, where N is 1 + the number of the code cell
among the code cells that nbdev leaves, and M the number of the output in its cell; this does the same.
"""

import base64
import difflib
import json
import os
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pypandoc
from execnb.nbio import nb2dict, read_nb
from nbconvert import MarkdownExporter
from nbdev.config import get_config
from nbdev.processors import FilterDefaults

ROOT = Path(__file__).resolve().parents[1]
FIGURES = "index_files/figure-commonmark"
READER = "markdown+lists_without_preceding_blankline-smart-implicit_figures"
WRITER = (
    "commonmark+autolink_bare_uris+emoji+footnotes+gfm_auto_identifiers+pipe_tables"
    "+strikeout+task_lists+tex_math_dollars-smart"
)
OPTION = re.compile(r"#\|\s*([\w-]+):\s*(.*?)\s*$")


def processed(path: Path) -> tuple[str, nbformat.NotebookNode]:
    """Title and notebook after nbdev's processing: hidden cells gone, names in backticks linked."""
    if get_config().lib_name not in {point.name for point in entry_points(group="nbdev")}:
        sys.exit("The links in README.md need the package installed: pip install -e '.[dev]'")
    os.environ["IN_TEST"] = "1"
    notebook = read_nb(path)
    FilterDefaults()(notebook)
    title = notebook.frontmatter_["title"]
    notebook = nbformat.reads(json.dumps(nb2dict(notebook)), as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type != "raw"]  # the front matter
    notebook.metadata.language_info = {"name": "python"}
    return title, notebook


def use_options(cell: nbformat.NotebookNode) -> dict[str, str]:
    """Takes Quarto's `#| name: value` lines off the top of a code cell and heeds those that hide something."""
    lines, options = cell.source.splitlines(), {}
    while lines and (found := OPTION.match(lines[0])):
        options[found[1]] = found[2].strip("\"'")
        lines.pop(0)
    hidden = options.get("include") == "false"
    cell.source = "\n".join(lines).strip()
    cell.metadata.transient = {"remove_source": not cell.source or hidden or options.get("echo") == "false"}
    if hidden or options.get("output") == "false":
        cell.outputs = []
    return options


def take_figures(cell: nbformat.NotebookNode, number: int, caption: str) -> dict[str, bytes]:
    """Turns each picture among the outputs into a link; the files it links to."""
    files = {}
    for index, output in enumerate(cell.outputs, 1):
        if png := output.get("data", {}).get("image/png"):
            name = f"{FIGURES}/cell-{number + 1}-output-{index}.png"
            files[name] = base64.b64decode(png)
            output.data = {"text/markdown": f"![{caption}]({name})"}
    return files


def readme() -> dict[str, bytes]:
    """Every file that makes up the README, by its path from the top."""
    title, notebook = processed(ROOT / "nbs" / "index.ipynb")
    files = {}
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        options = use_options(cell)
        files |= take_figures(cell, number, options.get("fig-cap", ""))
    markdown, _ = MarkdownExporter().from_notebook_node(notebook)
    # the README is one folder above the pages
    markdown = re.sub(r"\]\((?=[\w/]+\.(?:ipynb|qmd)[#)])", "](nbs/", markdown)
    body = pypandoc.convert_text(markdown, WRITER, format=READER)
    return {"README.md": f"# {title}\n\n\n{body}".encode(), **files}


def main() -> None:
    new = readme()
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "index_files").rglob("*.*")}
    old = {name: (ROOT / name).read_bytes() for name in kept | {"README.md"} if (ROOT / name).exists()}
    if "--check" not in sys.argv:
        for name in old.keys() - new.keys():
            (ROOT / name).unlink()
        for name, content in new.items():
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_bytes(content)
    elif new != old:
        text = [version.get("README.md", b"").decode().splitlines(True) for version in (old, new)]
        sys.stdout.writelines(difflib.unified_diff(*text, "README.md", "README.md from nbs/index.ipynb"))
        print("Differs:", *sorted(name for name in new.keys() | old.keys() if new.get(name) != old.get(name)))
        sys.exit(
            "README.md is out of step with nbs/index.ipynb: run `.ci/prepare` and commit what it changes."
        )


if __name__ == "__main__":
    main()
