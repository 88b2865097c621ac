"""Tables that lack an id or a column are named, or their rows are rejects."""

import pandas as pd
import pytest
from broken_rows import photographs

from geograph_types.coordinates import (
    CoordinateConfig,
    checked_table,
    geograph_table,
    make_target,
    read_osv,
    store_rows,
    without_vectors,
)
from geograph_types.data import convert
from geograph_types.errors import InputError
from geograph_types.store import EmbeddingStore

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


def test_ids_that_lost_their_form_still_find_their_vectors(tmp_path):
    rows = [row | {"gridimage_id": number} for number, row in zip((7, 8, 9), photographs(3))]
    pd.DataFrame(rows).to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    store = EmbeddingStore.open(convert(tmp_path / "rows.jsonl", tmp_path / "store", quiet=True).path)
    names = [9.0, "008", {"id": 7}, "11", "9"]
    table, rejects = checked_table(pd.DataFrame({"id": names, "lat": 51.0, "lon": 0.0}))
    assert [reject["reason"] for reject in rejects] == ["bad id", "duplicate id"]
    table, rejects = without_vectors(store, table)
    assert store_rows(store, table).tolist() == [2, 1]
    assert rejects == [{"id": "11", "reason": "no vector in store"}]
    with pytest.raises(InputError, match="no vector for 1 of 1"):
        without_vectors(store, table.assign(id="12")[:1])


def test_a_table_without_training_rows_is_refused():
    with pytest.raises(InputError, match="2 rows, and none of them to train on"):
        make_target(CoordinateConfig(), checked_table(PLACES.assign(split="tes"))[0])


def test_the_same_ids_are_divided_alike(tmp_path):
    """Gaps in a column of ids make floats of its numbers: no photograph changes its part for that."""
    ids, splits = list(range(100, 160)), []
    (tmp_path / "train_images/Texas").mkdir(parents=True)
    for number in ids:
        (tmp_path / f"train_images/Texas/{number}.jpg").touch()
    columns = ("captured_at", "climate", "unique_sub-region", "unique_city")
    rows = pd.DataFrame({"latitude": 32.0, "longitude": -99.0, "region": "Texas"}, range(60))
    rows = rows.assign(**dict.fromkeys(columns, ""))
    for names in (ids, [f"{number}.0" for number in ids]):
        for more in ({}, {"sequence": names}):
            rows.assign(id=names, **more).to_csv(tmp_path / "train_mini.csv", index=False)
            table, rejects = read_osv(tmp_path)
            assert not rejects and table["id"].tolist() == [str(number) for number in ids]
            splits.append(table["split"].tolist())
    assert splits == splits[:1] * 4 and "val" in splits[0]
