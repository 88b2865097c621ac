"""Fixtures that several test files use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
