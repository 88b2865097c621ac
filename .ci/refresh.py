#!/usr/bin/env python
"""Writes the parts of the notebooks that follow from elsewhere (badges from settings.ini, the table of rooms), and llms.txt.

    python .ci/refresh.py            rewrites them where they have changed
    python .ci/refresh.py --check    exits 1, naming the notebooks, when they are out of step

Both are saved outputs of code cells, so that they show on GitHub, in the docs, in the README and in Colab. The badges
stand under the cell that installs the package in Colab, the second of every page, which is added where it is missing;
the table stands under the cell of the landing page that names this script.
"""

import json
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLAB = """\
#| echo: false
#| eval: false
%pip install -q geograph_types fastcore"""

LLMS = """\
# {title}

> {description}

A classifier of types that takes a CLIP vector and a distance, tags of context, positions by retrieval and by \
regression, and zero-shot questions, for Geograph's photographs of Britain and Ireland. Notebooks are the source: each \
below explains, exports and tests one module.

## Begin

- [README](README.md): install, an example that runs, how good it is
- [From photographs to tags](nbs/tutorials/from_photographs_to_tags.ipynb): a tutorial
- [Review with the app](nbs/tutorials/review_with_the_app.ipynb): another, on tags that need a person
- [Commands](nbs/cli/00_cli.ipynb): `geograph-types COMMAND --help` for each
- [Where things are](AGENTS.md): for those who change the code
- [Contributing](CONTRIBUTING.md): how, and what every option of every command means

## Pages, from the ground up

{rooms}
"""


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
    return [room.strip() for layer in reversed(layers) for room in layer.split("|") if room.strip()]


def link(page: Path, cfg: dict[str, str]) -> str:
    """A page's title, linked to its place in the docs, which drop numbers from the names of files."""
    title, _ = title_and_holding(json.loads(page.read_text(encoding="utf-8")))
    place = page.relative_to(ROOT / cfg["nbs_path"]).with_name(page.stem.partition("_")[2] + ".html")
    return f"[{title.partition(':')[0]}]({cfg['doc_host']}{cfg['doc_baseurl']}/{place.as_posix()})"


def table(pages: list[Path], cfg: dict[str, str]) -> str:
    """One row for each room, in reading order: what it holds, and its pages where it has several."""
    nbs, rows = ROOT / cfg["nbs_path"], ["| room | what it holds |", "|---|---|"]
    for room in reading_order():
        first = next(
            page for page in pages if page.parent in (nbs, nbs / room) and page.stem.partition("_")[2] == room
        )
        others = [
            page for page in pages if page.parent == nbs / room and page != first and page.name[:2].isdigit()
        ]
        _, holds = title_and_holding(json.loads(first.read_text(encoding="utf-8")))
        more = f" Pages: {', '.join(link(page, cfg) for page in others)}." if others else ""
        rows.append(f"| {link(first, cfg)} | {holds}{more} |")
    return "\n".join(rows)


def llms(pages: list[Path], cfg: dict[str, str]) -> str:
    """llms.txt: what this is, and where each thing is written down, for programs that read (https://llmstxt.org)."""
    nbs, rooms = ROOT / cfg["nbs_path"], []
    for room in reading_order():
        first = next(
            page for page in pages if page.parent in (nbs, nbs / room) and page.stem.partition("_")[2] == room
        )
        title, holds = title_and_holding(json.loads(first.read_text(encoding="utf-8")))
        rooms.append(f"- [{title}]({first.relative_to(ROOT).as_posix()}): {holds}")
    return LLMS.format(title=cfg["lib_name"], description=cfg["description"], rooms="\n".join(rooms))


def show(cell: dict, markdown: str) -> None:
    """Makes `markdown` the saved output of a code cell."""
    cell["outputs"] = [
        {"data": {"text/markdown": markdown.splitlines(True)}, "metadata": {}, "output_type": "display_data"}
    ]


def refreshed(page: Path, pages: list[Path], cfg: dict[str, str]) -> str:
    """The notebook's text as it should be, in nbdev's clean format."""
    notebook = json.loads(page.read_text(encoding="utf-8"))
    if "%pip install" not in source(notebook["cells"][1]):
        notebook["cells"].insert(
            1, {"cell_type": "code", "execution_count": None, "id": "colab-setup", "metadata": {}}
        )
    notebook["cells"][1]["source"] = COLAB.splitlines(True)
    show(notebook["cells"][1], badges(page, cfg))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "by .ci/refresh.py" in source(cell):
            show(cell, table(pages, cfg))
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    cfg = settings()
    pages = [
        page
        for page in sorted((ROOT / cfg["nbs_path"]).rglob("*.ipynb"))
        if not any(part.startswith((".", "_")) for part in page.relative_to(ROOT).parts)
    ]
    made = {**{page: refreshed(page, pages, cfg) for page in pages}, ROOT / "llms.txt": llms(pages, cfg)}
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
