"""The house: its floors, the names that others rely on, and how little is imported to open the door."""

import importlib
import subprocess
import sys

import pytest
from conftest import ROOT

CONTRACT = {
    "": [
        "TypePredictor",
        "ContextPredictor",
        "GeoRetriever",
        "CoordinatePredictor",
        "EmbeddingStore",
        "convert",
        "open_model",
    ],
    "distance": [
        "calculate_geograph_distance",
        "get_geograph_distance",
        "DIST_MAP",
        "get_dist_idx",
        "distance_index",
    ],
    "labels": ["CLASSES", "CLASS_TO_IDX"],
    "data": ["CLIP_DIM", "decode_vector", "MultimodalGeographDataset"],
    "model": ["GeographModel"],
    "training": ["train"],
    "evaluation": ["evaluate"],
    "context": ["ContextHead"],
    "retrieval": ["LocationEncoder", "GeoRetriever"],
    "earth": ["haversine_km", "accuracy_at_km"],
    "zeroshot": ["read_results", "score_results"],
    "places": ["country_of", "nation_of", "county_of", "climate_of"],
    "coordinates": ["CoordinatePredictor"],
    "types": ["TypePredictor"],
    "photographs": ["open_source", "exif_position"],
    "synthetic": ["write_sample"],
}
NAMES = [(module, name) for module, names in CONTRACT.items() for name in names]
PACKAGE = ROOT / "geograph_types"


@pytest.mark.parametrize("module, name", NAMES, ids=".".join)
def test_names_that_others_rely_on(module, name):
    assert hasattr(importlib.import_module(f"geograph_types.{module}".rstrip(".")), name)


@pytest.mark.parametrize("package", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_every_public_name_of_a_package_can_be_imported(package):
    module = importlib.import_module(f"geograph_types.{package}")
    for name in module.__all__:
        assert getattr(module, name) is not None, name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from geograph_types.training import no_such_name")


def test_floors():
    """Every part imports only from below, inside functions too."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_few_modules_at_the_top():
    assert len([path for path in PACKAGE.glob("*.py") if not path.name.startswith("_")]) <= 16


def test_opening_the_door_is_light():
    code = "import sys, geograph_types; geograph_types.__version__; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"torch", "pandas", "numpy", "sklearn", "matplotlib", "lightning", "rich", "typer"} & set(
        modules
    )
