"""Tables of random text: what a CSV writer wrote comes back whole, and nothing at all ends in another error than ours."""

import csv
import random

import pytest

from geograph_types import tables
from geograph_types.errors import FileFormatError, Reject
from geograph_types.tables import table_blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 64)  # so that fields cross from one block to the next


def rows_of(path):
    return [pair for block in table_blocks(path) for pair in block]


@pytest.mark.parametrize("seed", range(100))
def test_fields_with_anything_in_them_come_back(tmp_path, seed):
    dice = random.Random(seed)
    rows = [["".join(dice.choices('ab,;"\n é', k=8)) for _ in range(3)] for _ in range(12)]
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["x", "y", "z"], *rows])
    assert [list(row.values()) for _, row in rows_of(tmp_path / "t.csv")] == rows


@pytest.mark.parametrize("seed", range(200))
def test_any_text_gives_rows_and_rejects_in_order(tmp_path, seed):
    dice = random.Random(seed)
    text = "x,y,z\n" + "".join(
        dice.choices('ab1,";\n\r\t é\0', [5, 3, 3, 6, 3, 1, 4, 1, 1, 1, 1, 0.2], k=150)
    )
    (tmp_path / "t.csv").write_bytes(text.encode(dice.choice(["utf-8", "cp1252"])))
    found = rows_of(tmp_path / "t.csv")
    assert all(isinstance(row, (dict, Reject)) for _, row in found)
    assert [line for line, _ in found] == sorted({line for line, _ in found})


@pytest.mark.parametrize("seed", range(200))
def test_broken_json_is_rows_rejects_or_our_error(tmp_path, seed):
    dice = random.Random(seed)
    text = dice.choice(["[{", "{\n", ""]) + "".join(dice.choices('[]{}":,a1 \n', k=40))
    (tmp_path / "t.json").write_text(text)
    try:
        rows_of(tmp_path / "t.json")
    except FileFormatError:
        pass
