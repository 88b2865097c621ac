#!/usr/bin/env python
"""Checks what readers meet, without Quarto: names and figures described, links that lead somewhere, short lines.

    python .ci/pages.py            exits 1, naming each fault

Each check is a function of this file that yields its faults, as `page: what is wrong`.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT / "nbs"
MODULES = ROOT / "geograph_types"
WIDTH = 88  # of code that a reader sees
# what libraries leave in a cell's output: bars, warnings, lines of a log
RESIDUE = re.compile(r"\d%\||\d(it|s)/(s|it)\b|\w+Warning\b|^(INFO|WARNING|DEBUG)\b|━", re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
DIRECTIVE = re.compile(r"^#\|\s*([\w-]+):?[^\S\n]*(.*?)\s*$", re.MULTILINE)


def source(cell: dict) -> str:
    return "".join(cell["source"])


def directives(cell: dict) -> dict[str, str]:
    """The lines of a cell that begin with `#|`: names and values."""
    return {name: value.strip("\"'") for name, value in DIRECTIVE.findall(source(cell))}


def pages() -> dict[Path, list[dict]]:
    """The cells of each notebook."""
    return {
        page: json.loads(page.read_text(encoding="utf-8"))["cells"]
        for page in sorted(NBS.rglob("*.ipynb"))
        if not any(part.startswith((".", "_")) for part in page.relative_to(ROOT).parts)
    }


def visible(cells: list[dict]) -> list[dict]:
    """The code cells that a reader sees."""
    return [
        cell
        for cell in cells
        if cell["cell_type"] == "code"
        and not {"hide", "export", "exporti", "default_exp"} & directives(cell).keys()
    ]


def figures_without_words(cells: list[dict]) -> Iterator[str]:
    """A figure has alt text that says more than its title."""
    for cell in visible(cells):
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            alt, caption = (directives(cell).get(name, "") for name in ("fig-alt", "fig-cap"))
            if len((alt or caption).split()) < 6:
                yield f"figure without `#| fig-alt` of some words: {source(cell).splitlines()[0][:60]}"


def not_a_page(cells: list[dict]) -> Iterator[str]:
    """A page has a title, a line that says what it holds, a badge, and a question among its first cells."""
    if not re.fullmatch(r"# [^\n]+\n+> [^\n]+", source(cells[0])):
        yield "the first cell is not a title and a line that begins with >"
    if "colab-badge" not in json.dumps(cells[1].get("outputs", [])):
        yield "no badge below the second cell: run .ci/refresh.py"
    opening = [source(cell) for cell in cells[:6] if cell["cell_type"] == "markdown"]
    if not any("?" in text for text in opening):
        yield "no question among the first cells"


def dead_links(page: Path, cells: list[dict]) -> Iterator[str]:
    """Relative links and images lead to files that are there."""
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        text = re.sub(r"```.*?```|`[^`\n]*`", "", source(cell), flags=re.DOTALL)
        for target in LINK.findall(text):
            path = unquote(target.partition("#")[0])
            if path and not re.match(r"[a-z]+:", path) and not (page.parent / path).exists():
                yield f"dead link {target}"


def long_lines(cells: list[dict]) -> Iterator[str]:
    """Code that a reader sees does not wrap; comments with alt text may be longer."""
    for cell in visible(cells):
        for line in source(cell).splitlines():
            if len(line) > WIDTH and not line.startswith(("#|", "%pip")):
                yield f"{len(line)} columns: {line[:50]}..."


def addresses_in_memory(cells: list[dict]) -> Iterator[str]:
    """Outputs say what a thing is, not where it lies in memory."""
    for cell in visible(cells):
        for output in cell.get("outputs", []):
            shown = json.dumps([output.get("text"), output.get("data", {}).get("text/plain")])
            if found := re.search(r"<?[\w.]+ object at 0x\w+", shown):
                yield f"output {found[0]}"


def residue(cells: list[dict]) -> Iterator[str]:
    """Outputs hold what the cell says, and nothing of progress or warnings."""
    for cell in visible(cells):
        for output in cell.get("outputs", []):
            text = "".join([*output.get("text", []), *output.get("data", {}).get("text/plain", [])])
            if found := RESIDUE.search(text):
                yield f"{found[0]} in the output of: {source(cell).splitlines()[0][:60]}"


def dead_files(path: Path) -> Iterator[str]:
    """The same links in pages that are no notebooks, and in the README."""
    yield from dead_links(path, [{"cell_type": "markdown", "source": [path.read_text(encoding="utf-8")]}])


def is_guide(cells: list[dict]) -> bool:
    """A page that explains no module: a tutorial, an answer, the landing page."""
    return not any("default_exp" in directives(cell) for cell in cells)


def undocumented(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Public functions and classes, and the public methods of these, say what they do."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield f"no docstring: {owner}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{node.name}.")


def faults() -> Iterator[str]:
    for module in sorted(MODULES.rglob("*.py")):
        yield from (
            f"{module.relative_to(ROOT)}: {fault}"
            for fault in undocumented(ast.parse(module.read_bytes()).body)
        )
    for page, cells in pages().items():
        name = page.relative_to(NBS)
        checks = [figures_without_words, not_a_page, addresses_in_memory, residue]
        for check in [*checks, long_lines] if is_guide(cells) else checks:
            yield from (f"{name}: {fault}" for fault in check(cells))
        yield from (f"{name}: {fault}" for fault in dead_links(page, cells))
    for path in (
        *sorted(NBS.rglob("*.qmd")),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "AGENTS.md",
    ):
        yield from (f"{path.relative_to(ROOT)}: {fault}" for fault in dead_files(path))


def main() -> None:
    found = list(faults())
    if found:
        sys.exit("\n".join([*found, f"{len(found)} faults"]))


if __name__ == "__main__":
    main()
