#!/usr/bin/env python
"""Writes the .pyi file of every package, which says what can be imported from it; lazy_loader and type checkers read it.

    python .ci/stubs.py            writes geograph_types/**/__init__.pyi
    python .ci/stubs.py --check    exits 1, naming the packages, when they are out of step

A package gives all public names (`__all__`) of its modules; the top gives those that most people need. Two modules
of a package with one public name between them are an error: one name means one thing.
"""

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "geograph_types"
NOTE = "# Made by .ci/stubs.py from the modules' __all__. Do not edit.\n"
TOP = {
    "context.model": ["ContextHead"],
    "context.predictor": ["ContextPredictor"],
    "coordinates.predictor": ["CoordinatePredictor"],
    "data": ["convert"],
    "models": ["open_model"],
    "retrieval.retriever": ["GeoRetriever"],
    "store.folder": ["EmbeddingStore"],
    "types.predictor": ["TypePredictor"],
}
VERSION = "__version__: str\n"
# published names that training keeps; its __init__ says where their code is
DOOR = """\
import geograph_types.types.training as _types_training

train = _types_training.train
TrainingConfig = _types_training.TrainingConfig
TrainingRun = _types_training.TrainingRun
"""


def public_names(module: Path) -> list[str]:
    """The `__all__` of a module, without running it."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def stub(names: dict[str, list[str]]) -> str:
    """Import statements: module -> names."""
    return NOTE + "".join(
        f"from .{module} import {name} as {name}\n"
        for module in sorted(names)
        for name in sorted(names[module])
    )


def package_stub(package: Path) -> str:
    """Everything public in a package's modules, each name once."""
    names = {
        module.stem: public_names(module) for module in package.glob("*.py") if module.stem != "__init__"
    }
    homes: dict[str, list[str]] = {}
    for module, public in names.items():
        for name in public:
            homes.setdefault(name, []).append(module)
    if several := {name: modules for name, modules in homes.items() if len(modules) > 1}:
        sys.exit(f"{package.name}: these names mean several things: {several}")
    return stub(names) + (DOOR if package.name == "training" else "")


def stubs() -> dict[Path, str]:
    """Every stub by its path. The commands are no library: of them only the program itself can be imported."""
    packages = [path.parent for path in sorted(PACKAGE.glob("*/__init__.py")) if path.parent.name != "cli"]
    return {
        PACKAGE / "__init__.pyi": stub(TOP) + VERSION,
        PACKAGE / "cli" / "__init__.pyi": stub({"root": ["main"], "types": ["app"]}),
        **{package / "__init__.pyi": package_stub(package) for package in packages},
    }


def main() -> None:
    stale = {
        path: text
        for path, text in stubs().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    if "--check" in sys.argv and stale:
        sys.exit(
            f"Out of step: {', '.join(path.parent.name for path in stale)}. "
            "Run `.ci/prepare` and commit what it changes."
        )
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
