#!/usr/bin/env python
"""Formats the code in the notebooks, the tests and the scripts with ruff.

    python .ci/format.py            rewrites the cells that are out of form
    python .ci/format.py --check    exits 1, naming the pages, when there are any

Exported cells may be 110 columns wide, since docments stand behind the parameters; what a reader sees 88. Cells with
magics (`%pip`, `%%bash`) are left alone.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
EXPORTED, VISIBLE = 110, 88
SCRIPTS = ["tests", "benchmarks", "setup.py", ".ci"]


def ruff(width: int, verb: str, *arguments: str) -> subprocess.CompletedProcess:
    line = [
        sys.executable,
        "-m",
        "ruff",
        verb,
        f"--config={ROOT}/ruff.toml",
        f"--line-length={width}",
        *arguments,
    ]
    return subprocess.run(line, cwd=ROOT, check=False, capture_output=True, text=True)


def formatted(sources: list[str], width: int) -> list[str]:
    """Cells as ruff writes them, all in one call."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.py" for number in range(len(sources))]
        for file, source in zip(files, sources):
            file.write_text(source, encoding="utf-8")
        ruff(width, "check", "--select=I", "--fix", folder)
        done = ruff(width, "format", folder)
        if done.returncode:
            sys.exit(done.stderr)
        return [file.read_text(encoding="utf-8").rstrip("\n") for file in files]


def code_cells(notebook: dict, width: int) -> list[dict]:
    """The cells of one width."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    return [
        cell
        for cell, source in zip(cells, sources)
        if not re.search(r"^[%!]", source, re.MULTILINE)
        and (EXPORTED if "#| export" in source else VISIBLE) == width
    ]


def text(notebook: dict) -> str:
    """A notebook in nbdev's clean form, its sources in lines as Jupyter saves them."""
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).splitlines(True)
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    pages = {
        page: json.loads(page.read_text(encoding="utf-8"))
        for page in sorted((ROOT / "nbs").rglob("*.ipynb"))
        if not any(part.startswith((".", "_")) for part in page.relative_to(ROOT).parts)
    }
    for width in (EXPORTED, VISIBLE):
        cells = [cell for notebook in pages.values() for cell in code_cells(notebook, width)]
        for cell, new in zip(cells, formatted(["".join(cell["source"]) for cell in cells], width)):
            cell["source"] = new
    stale = {
        page: new
        for page, notebook in pages.items()
        if (new := text(notebook)) != page.read_text(encoding="utf-8")
    }
    if "--check" not in sys.argv:
        ruff(EXPORTED, "check", "--select=I", "--fix", *SCRIPTS)
    scripts = ruff(EXPORTED, "format", *(["--check"] if "--check" in sys.argv else []), *SCRIPTS)
    if "--check" in sys.argv and (stale or scripts.returncode):
        names = [str(page.relative_to(ROOT)) for page in stale]
        sys.exit("\n".join([*names, scripts.stdout, "Run `.ci/prepare` and commit what it changes."]))
    for page, new in stale.items():
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
