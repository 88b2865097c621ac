#!/usr/bin/env python
"""Checks what readers meet, without Quarto: names and figures described, links that lead somewhere, short lines.

    python .ci/pages.py            exits 1, naming each fault

Each check is a function of this file that yields its faults, as `page: what is wrong`.
"""

import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from IPython.core.inputtransformer2 import TransformerManager

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


def figures_not_saved(cells: list[dict]) -> Iterator[str]:
    """A visible cell that ends with a figure has it in its saved outputs: the docs run no examples."""
    for cell in visible(cells):
        last = source(cell).rstrip().rpartition("\n")[2]
        if re.match(r"plot_\w+\(", last) and not last.endswith(";") and not cell["outputs"]:
            yield f"no figure saved for: {last[:60]}"


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


def links_in_links(cells: list[dict]) -> Iterator[str]:
    """The text of a link is no name in backticks: the docs make a link of that by themselves, and show both."""
    for cell in cells:
        shown = [output.get("data", {}).get("text/markdown", []) for output in cell.get("outputs", [])]
        texts = [source(cell)] if cell["cell_type"] == "markdown" else ["".join(text) for text in shown]
        for found in re.findall(r"\[`\w+`\]\([^)]*\)", "\n".join(texts)):
            yield f"a link in a link: {found}; leave out the backticks"


def long_lines(cells: list[dict]) -> Iterator[str]:
    """Code that a reader sees does not wrap; comments with alt text may be longer."""
    for cell in visible(cells):
        for line in source(cell).splitlines():
            if len(line) > WIDTH and not line.startswith(("#|", "%pip")):
                yield f"{len(line)} columns: {line[:50]}..."


def private_names(cells: list[dict]) -> Iterator[str]:
    """What a reader sees he may call: names that begin with _ are tested in hidden cells, or in tests."""
    for cell in visible(cells):
        code = TransformerManager().transform_cell(source(cell))  # lines that begin with ! or %
        for node in ast.walk(ast.parse(code)):
            named = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            named += [str(getattr(node, part, "")) for part in ("id", "attr")]
            for name in named:
                if re.match("_[A-Za-z]", name) and name not in ("_replace", "_asdict"):  # of named tuples
                    yield f"a visible cell uses {name}: {source(cell).splitlines()[0][:60]}"


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


# What people ask, and the page whose first words say so
ANSWERS = {
    "tag my folder": "howto/01_tag_a_folder",
    "CSV": "howto/02_export_to_csv",
    "doubtful tags": "howto/08_review_doubtful_tags",
    "wrong position": "howto/03_check_positions",
    "8 million": "howto/04_embed_millions",
    "without internet": "howto/05_work_offline",
    "classes of my own": "howto/06_my_own_classes",
    "PHP": "howto/07_use_the_vectors_elsewhere",
    "correct a model's mistakes": "howto/09_correct_a_models_mistakes",
    "call it from Python": "howto/10_call_it_from_python",
    "Cross Far": "about/02_glossary",
    "which model should I use": "about/01_results",
    "drone": "about/01_results",
    "table 2 of CLIP the Landscape": "about/01_results",
    "Kubernetes": "tutorials/08_worker_for_geograph",
}


def unanswered(found: dict[Path, list[dict]]) -> Iterator[str]:
    """What people ask is in the title of a page, or in the line below it."""
    for asked, name in ANSWERS.items():
        if asked.lower() not in source(found[NBS / f"{name}.ipynb"][0]).lower():
            yield f"{name}.ipynb: its first lines do not say: {asked}"


def unsaid(node: ast.FunctionDef, name: str, comments: set[int]) -> Iterator[str]:
    """What the reference could not say of a function: what it does, a parameter, an array that comes back."""
    said, start = ast.get_docstring(node) or "", node.body[0].lineno
    if any(ast.unparse(one).startswith(("command(", "app.")) for one in node.decorator_list):
        return  # a command, whose help says it
    if not said and node.name != "__init__":
        yield f"{name} has no docstring"
    arguments = [one for one in (*node.args.args, *node.args.kwonlyargs) if one.arg not in ("self", "cls")]
    ends = [one.lineno for one in arguments[1:]] + [start]
    for one, end in zip(arguments, ends):
        if not comments & {one.lineno, *range(one.lineno, end)}:
            yield f"{name}: {one.arg} is not described"
    array = re.search("ndarray|DataFrame|Tensor|tuple", ast.unparse(node.returns) if node.returns else "")
    is_property = any("property" in ast.unparse(one) for one in node.decorator_list)
    if array and not is_property and not comments & set(range(node.returns.lineno, start)):  # type: ignore[union-attr]
        yield f"{name}: what comes back is not described"


def undocumented(module: Path) -> Iterator[str]:
    """Public functions, classes, their methods and fields all say what they are."""
    text = module.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for node in ast.parse(text).body:
        name = getattr(node, "name", "_")
        if name.startswith("_"):
            continue
        if isinstance(node, ast.FunctionDef):
            yield from unsaid(node, name, comments)
        elif isinstance(node, ast.ClassDef):
            if not ast.get_docstring(node):
                yield f"{name} has no docstring"
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and (part.name == "__init__" or part.name[0] != "_"):
                    yield from unsaid(part, f"{name}.{part.name}", comments)
                elif isinstance(part, ast.AnnAssign) and ast.unparse(part.target)[0] != "_":
                    if not comments & set(range(part.lineno, (part.end_lineno or part.lineno) + 1)):
                        yield f"{name}: {ast.unparse(part.target)} is not described"


def faults() -> Iterator[str]:
    found = pages()
    yield from unanswered(found)
    for module in sorted(MODULES.rglob("[!_]*.py")):
        yield from (f"{module.relative_to(ROOT)}: {fault}" for fault in undocumented(module))
    for page, cells in found.items():
        name = page.relative_to(NBS)
        for check in (
            figures_without_words,
            not_a_page,
            figures_not_saved,
            private_names,
            links_in_links,
            addresses_in_memory,
            residue,
            long_lines,
        ):
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
