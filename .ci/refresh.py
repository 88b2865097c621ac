#!/usr/bin/env python
"""Writes what follows from elsewhere: badges, the table of parts, the index of names, the site's sidebar, and llms.txt.

    python .ci/refresh.py            rewrites them where they have changed
    python .ci/refresh.py --check    exits 1, naming the files, when they are out of step

Badges and tables are saved outputs of code cells, so that they show on GitHub, in the docs, in the README and in Colab.
The badges stand under the cell that installs the package in Colab, the second of every page, which is added where it is
missing; the tables under the cells of the page on the reference that name this script and the table.
"""

import ast
import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Colab has neither the package nor the tools of tests. Until there is a release it comes from the repository.
COLAB = """\
#| echo: false
#| eval: false
%pip install -q "{lib_name}{extras} @ git+{git_url}"{more}"""

# Writes the module of a page; without nbdev or outside a clone, as in Colab, there is nothing to write.
EXPORT = """\
#| hide
from contextlib import suppress

with suppress(ImportError):
    from nbdev.doclinks import is_nbdev, nbdev_export

    if is_nbdev():
        nbdev_export()"""

LLMS = """\
# {title}

> {description}

A classifier of types that takes a CLIP vector and a distance, tags of context, positions by retrieval and by \
regression, and zero-shot questions, for Geograph's photographs of Britain and Ireland. Notebooks are the source: each \
below explains, exports and tests one module.

## Begin

- [README](README.md): install, an example that runs, how good it is
- [Commands](nbs/commands.qmd): the help of every command
- [All public names](nbs/reference.ipynb): what each does, and where
- [Where things are](AGENTS.md): for those who change the code
- [Contributing](CONTRIBUTING.md): how, and what every option of every command means

## Tutorials, answers, results

{guides}

## Pages, from the ground up

{parts}
"""

# The site's map: folders of guides, the pages of the type classifier from end to end, and what is about all of it.
GUIDES = {"Tutorials": "tutorials", "How to": "howto", "About": "about"}
FIVE_PAGES = [
    "05_distance.ipynb",
    "10_data.ipynb",
    "12_model.ipynb",
    "types/01_training.ipynb",
    "evaluation/02_evaluation.ipynb",
]


def settings() -> dict[str, str]:
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def source(cell: dict) -> str:
    return "".join(cell["source"])


def title_and_holding(notebook: dict) -> tuple[str, str]:
    """The heading of a page, and the line beginning with > below it, which says what the page holds."""
    lines = source(notebook["cells"][0]).splitlines()
    holds = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    return lines[0].removeprefix("# "), "".join(holds[:1])


def badges(page: Path, cfg: dict[str, str]) -> str:
    colab = f"https://colab.research.google.com/github/{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}"
    shown = [
        (
            "Open in Colab",
            "https://colab.research.google.com/assets/colab-badge.svg",
            f"{colab}/{page.relative_to(ROOT).as_posix()}",
        )
    ]
    if page.name == cfg["readme_nb"]:
        workflow = f"{cfg['git_url']}/actions/workflows/test.yml"
        shield = "https://img.shields.io/badge"
        shown = [
            ("Tests", f"{workflow}/badge.svg?branch={cfg['branch']}", workflow),
            ("Documentation", f"{shield}/docs-online-blue", cfg["doc_host"] + cfg["doc_baseurl"]),
            (
                "Licence: Apache-2.0",
                f"{shield}/licence-Apache--2.0-blue",
                f"{cfg['git_url']}/blob/{cfg['branch']}/LICENSE",
            ),
            *shown,
        ]
    return "\n".join(f"[![{name}]({image})]({link})" for name, image, link in shown)


def reading_order() -> list[str]:
    """Rooms from the ground to the door, as the floors are written down."""
    parser = ConfigParser()
    parser.read(ROOT / ".importlinter", encoding="utf-8")
    layers = parser["importlinter:contract:floors"]["layers"].split("\n")
    return [part.strip() for layer in reversed(layers) for part in layer.split("|") if part.strip()]


def page_title(page: Path) -> str:
    return title_and_holding(json.loads(page.read_text(encoding="utf-8")))[0]


def address(page: Path, cfg: dict[str, str]) -> str:
    """A page's place in the docs, which drop numbers from the names of files."""
    name = re.sub(r"^\d+[a-z]?_", "", page.stem) + ".html"
    place = page.relative_to(ROOT / cfg["nbs_path"]).with_name(name)
    return f"{cfg['doc_host']}{cfg['doc_baseurl']}/{place.as_posix()}"


def link(page: Path, cfg: dict[str, str]) -> str:
    return f"[{page_title(page).partition(':')[0]}]({address(page, cfg)})"


def parts(pages: list[Path], cfg: dict[str, str]) -> list[tuple[Path, list[Path]]]:
    """Each part's first page and its other pages, in reading order."""
    nbs, found = ROOT / cfg["nbs_path"], []
    for part in reading_order():
        first = next(
            page for page in pages if page.parent in (nbs, nbs / part) and page.stem.partition("_")[2] == part
        )
        others = [
            page for page in pages if page.parent == nbs / part and page != first and page.name[:2].isdigit()
        ]
        found.append((first, others))
    return found


def table(pages: list[Path], cfg: dict[str, str]) -> str:
    """One row for each part, in reading order: what it holds, and its pages where it has several."""
    rows = ["| part | what it holds |", "|---|---|"]
    for first, others in parts(pages, cfg):
        _, holds = title_and_holding(json.loads(first.read_text(encoding="utf-8")))
        more = f" Pages: {', '.join(link(page, cfg) for page in others)}." if others else ""
        rows.append(f"| {link(first, cfg)} | {holds}{more} |")
    return "\n".join(rows)


def public_names(module: Path) -> dict[str, str]:
    """The names that a module calls public, each with the first line of its docstring."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    documented = {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return {name: documented.get(name, "") for name in ast.literal_eval(node.value)}
    return {}


def names(pages: list[Path], cfg: dict[str, str]) -> str:
    """Every public function and class, by name: what it does, and the page that explains it."""
    rows = []
    for page in pages:
        exported = re.search(r"#\| default_exp ([\w.]+)\\?[n\"]", page.read_text(encoding="utf-8"))
        module = exported and ROOT / cfg["lib_path"] / f"{exported[1].replace('.', '/')}.py"
        if not module or exported[1].startswith("cli.") or exported[1].endswith("__"):
            continue
        for name, holds in public_names(module).items():
            if holds:
                row = f"| [{name}]({address(page, cfg)}#{name.lower()}) | {holds} | {link(page, cfg)} |"
                rows.append((name.lower(), name, row))
    return "\n".join(["| name | what it is | page |", "|---|---|---|", *(row for *_, row in sorted(rows))])


def speeds() -> str:
    """What `benchmarks/type_tags.py --json` wrote, for the landing page and the README."""
    held = json.loads((ROOT / "benchmarks" / "type_tags.json").read_text(encoding="utf-8"))
    about, numbers = held["about"], held["numbers"]
    count = about["rows"]

    def row(what: str, published: float, ours: float, rows: int | None = None) -> str:
        """A line of the table: seconds, or rows a second of so many rows."""
        shown = [f"{rows / one:,.0f} rows/s" if rows else f"{one:.2g} s" for one in (published, ours)]
        return f"| {what} | {shown[0]} | {shown[1]} | {published / ours:.3g} |"

    def both(task: str, rows: int | None = None) -> str:
        """The same seconds of both ways."""
        return row(names[task], *(numbers[f"{task}_{way}"]["seconds"] for way in ("published", "ours")), rows)

    names = {
        "open": "open the data",
        "convert": "convert .jsonl, checked and written",
        "convert_gzip": "convert .jsonl.gz, checked and written",
        "train": "train, an epoch",
        "predict": "predict, from arrays",
    }
    memory = [f"{numbers[f'open_{way}']['added_mb']:,.0f} MB" for way in ("published", "ours")]
    file = row(
        "predict, from file to file",
        numbers["predict_published"]["seconds"],
        numbers["predict_ours"]["file"],
        1,
    )
    return "\n".join(
        [
            "| | published way | this package | times faster |",
            "|---|---|---|---|",
            both("open"),
            f"| memory that the open data take | {memory[0]} | {memory[1]}, all metadata read | |",
            both("convert_gzip", count),
            both("convert", count),
            both("train"),
            both("predict", 1),
            file,
            "",
            f"{count:,} synthetic rows, {about['cores']} processor cores, {about['date'][:10]}, by "
            "`python benchmarks/type_tags.py --json benchmarks/type_tags.json`, from which this table is made.",
        ]
    )


def guides(pages: list[Path], cfg: dict[str, str]) -> dict[str, list[Path]]:
    nbs = ROOT / cfg["nbs_path"]
    return {
        title: [page for page in pages if page.parent == nbs / folder] for title, folder in GUIDES.items()
    }


def sidebar(pages: list[Path], cfg: dict[str, str]) -> str:
    """The site's map, for Quarto."""
    nbs = ROOT / cfg["nbs_path"]

    def entry(page: Path) -> dict[str, str]:
        return {"text": page_title(page).partition(":")[0], "href": page.relative_to(nbs).as_posix()}

    def section(title: str, entries: list) -> dict:
        return {"section": title, "contents": entries}

    found = {
        title: section(title, [entry(page) for page in some]) for title, some in guides(pages, cfg).items()
    }
    reference: list[dict] = [{"text": "All modules and names", "href": "reference.ipynb"}]
    for first, others in parts(pages, cfg):
        some = [entry(first)]
        for page in others:
            one, (_, _, rest) = entry(page), page_title(page).partition(": ")
            if rest and one["text"] in [
                other["text"] for other in some
            ]:  # what tells them apart is behind the colon
                one["text"] = rest[0].upper() + rest[1:]
            some.append(one)
        reference.append(section(some[0]["text"], some) if others else some[0])
    files = [
        {"text": text, "href": f"{cfg['git_url']}/blob/{cfg['branch']}/{name}"}
        for text, name in (
            ("Changelog", "CHANGELOG.md"),
            ("Contributing", "CONTRIBUTING.md"),
            ("Licence", "LICENSE"),
        )
    ]
    contents = [
        {"text": "Home", "href": cfg["readme_nb"]},
        found["Tutorials"],
        found["How to"],
        {"text": "Commands", "href": "commands.qmd"},
        section("The classifier in five pages", [entry(nbs / page) for page in FIVE_PAGES]),
        section("Reference", reference),
        section("About", [*found["About"]["contents"], entry(nbs / "00_house.ipynb"), *files]),
    ]
    listed = {"website": {"sidebar": {"contents": contents}}}
    return "# Made by .ci/refresh.py from the pages. Do not edit.\n" + yaml.safe_dump(
        listed, sort_keys=False, allow_unicode=True, width=120
    )


def line(page: Path) -> str:
    title, holds = title_and_holding(json.loads(page.read_text(encoding="utf-8")))
    return f"- [{title}]({page.relative_to(ROOT).as_posix()}): {holds}"


def llms(pages: list[Path], cfg: dict[str, str]) -> str:
    """llms.txt: what this is, and where each thing is written down, for programs that read (https://llmstxt.org)."""
    return LLMS.format(
        title=cfg["lib_name"],
        description=cfg["description"],
        guides="\n".join(line(page) for some in guides(pages, cfg).values() for page in some),
        parts="\n".join(line(first) for first, _ in parts(pages, cfg)),
    )


def show(cell: dict, markdown: str) -> None:
    """Makes `markdown` the saved output of a code cell."""
    cell["outputs"] = [
        {"data": {"text/markdown": markdown.splitlines(True)}, "metadata": {}, "output_type": "display_data"}
    ]


def installing(cells: list[dict], cfg: dict[str, str]) -> str:
    """What the cell that installs the package in Colab says: the extras that it names already, and what examples use."""
    extras = re.search(rf"{cfg['lib_name']}(\[[\w,]+\])", source(cells[1]))
    fastcore = any("from fastcore" in source(cell) for cell in cells[2:])
    return COLAB.format(extras=extras[1] if extras else "", more=" fastcore" if fastcore else "", **cfg)


def made_table(said: str, pages: list[Path], cfg: dict[str, str]) -> str:
    """The table that the comment in a cell asks for."""
    if "benchmarks" in said:
        return speeds()
    return (names if "index of names" in said else table)(pages, cfg)


def refreshed(page: Path, pages: list[Path], cfg: dict[str, str]) -> str:
    """The notebook's text as it should be, in nbdev's clean format."""
    notebook = json.loads(page.read_text(encoding="utf-8"))
    if "%pip install" not in source(notebook["cells"][1]):
        notebook["cells"].insert(
            1,
            {
                "cell_type": "code",
                "execution_count": None,
                "id": "colab-setup",
                "metadata": {},
                "source": [],
            },
        )
    notebook["cells"][1]["source"] = installing(notebook["cells"], cfg).splitlines(True)
    show(notebook["cells"][1], badges(page, cfg))
    if "nbdev_export()" in source(notebook["cells"][-1]):
        notebook["cells"][-1]["source"] = EXPORT.splitlines(True)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "by .ci/refresh.py" in source(cell):
            show(cell, made_table(source(cell), pages, cfg))
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    cfg = settings()
    pages = [
        page
        for page in sorted((ROOT / cfg["nbs_path"]).rglob("*.ipynb"))
        if not any(part.startswith((".", "_")) for part in page.relative_to(ROOT).parts)
    ]
    made = {page: refreshed(page, pages, cfg) for page in pages}
    made[ROOT / cfg["nbs_path"] / "sidebar.yml"] = sidebar(pages, cfg)
    made[ROOT / "llms.txt"] = llms(pages, cfg)
    stale = {
        path: new
        for path, new in made.items()
        if not path.exists() or new != path.read_text(encoding="utf-8")
    }
    if "--check" in sys.argv and stale:
        sys.exit(
            f"Out of step: {', '.join(page.name for page in stale)}. "
            "Run `.ci/prepare` and commit what it changes."
        )
    for page, new in stale.items():
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
