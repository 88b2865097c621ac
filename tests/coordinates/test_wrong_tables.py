"""Tables that lack an id or a column are named, or their rows are rejects."""

import pandas as pd
import pytest

from geograph_types.coordinates import checked_table, geograph_table, read_osv
from geograph_types.errors import InputError

PLACES = pd.DataFrame({"id": [1, None, 3], "lat": [51.0, 52, 53], "lon": [0.0, -1, -2]})


def test_a_row_without_an_id_is_a_reject():
    table, rejects = checked_table(PLACES)
    assert len(table) == 2 and [reject["reason"] for reject in rejects] == ["no id"]


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(InputError, match="expected gridimage_id"):
        geograph_table(PLACES)
    PLACES.to_csv(tmp_path / "train_mini.csv", index=False)
    with pytest.raises(InputError, match="train_mini.csv.*expected also latitude"):
        read_osv(tmp_path)
