"""A store that others made may hold a photograph twice: what looks photographs up in it says so."""

import pandas as pd
import pytest
from commands import COMMANDS, make_world, run


@pytest.mark.parametrize("command", ["context submit", "coordinates evaluate"])
def test_a_photograph_that_is_there_twice_is_named(command, tmp_path):
    make_world(tmp_path)
    (tmp_path / "store/manifest.json").unlink()
    path = next((tmp_path / "store/metadata").glob("*.parquet"))
    table = pd.read_parquet(path)
    table.loc[1, "gridimage_id"] = table.loc[0, "gridimage_id"]
    table.to_parquet(path, index=False)
    status, words = run(COMMANDS[command].format(tmp_path).replace("OUT", "out").split(), tmp_path)
    assert status == 1 and f"photograph {table.loc[0, 'gridimage_id']} has two" in words
