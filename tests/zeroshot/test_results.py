"""The published result tables, recomputed."""

import csv

import pytest

from geograph_types.places import UN_M49, RegionError, read_regions
from geograph_types.zeroshot import first_answers, most_confused, read_results, score_results, write_results

TABLES = {
    "country100_results.csv": (11_500, (".5174", ".7609", ".8557", ".5030", ".5139"), 916, ".5103", ".5069"),
    "France_states_max100_results.csv": (
        1_778,
        (".2891", ".5984", ".7992", ".2807", ".2608"),
        174,
        None,
        None,
    ),
}


def to_4_decimals(*numbers: float) -> tuple[str, ...]:
    return tuple(f"{number:.4f}".removeprefix("0") for number in numbers)


def published_reading(path) -> list[tuple[str, list[str]]]:
    """As the published program read a table: lists split at commas, single quotes stripped."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    return [
        (gold, [name.strip("'") for name in predictions.strip("[]").split(", ")])
        for gold, predictions, *_ in rows
    ]


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_give_the_recomputed_scores(published, tmp_path, name):
    path = published / "geoguessr" / "resultcsv" / name
    rows, expected, misread, *wrong_scores = TABLES[name]
    frame = read_results(path)
    scores = score_results(frame)
    assert len(frame) == rows
    assert to_4_decimals(scores.top1, scores.top3, scores.top5, scores.macro_f1, scores.mcc) == expected

    old = published_reading(path)
    assert sum(answers != list(ours) for (_, answers), ours in zip(old, frame["predictions"])) == misread
    wrong = score_results(frame.assign(predictions=[answers for _, answers in old]))
    if any(wrong_scores):
        assert to_4_decimals(wrong.top1, wrong.mcc) == tuple(wrong_scores)

    for copy in (tmp_path / "copy.tsv", tmp_path / "copy.csv", tmp_path / "copy.parquet"):
        again = read_results(write_results(copy, frame))
        assert again["predictions"].tolist() == frame["predictions"].tolist()
        assert again["probabilities"].tolist() == frame["probabilities"].tolist()
        assert again["filename"].tolist() == frame["filename"].tolist()
    assert (tmp_path / "copy.tsv").read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


def test_published_probabilities_are_saturated(published):
    frame = read_results(published / "geoguessr" / "resultcsv" / "country100_results.csv")
    first = frame["probabilities"].str[0]
    assert first.median() == 1.0 and f"{(first > 0.999).mean():.2f}" == "0.77"
    assert (first_answers(frame) == frame["gold"]).mean() < 0.52
    assert len(most_confused(frame, 5)) == 5


@pytest.mark.parametrize("name", ["country_to_region.json", "region_to_country.json"])
def test_published_region_tables_lack_germany(published, name):
    folder = published / "geoguessr"
    with pytest.warns(UserWarning, match="in no region, so never an answer: .*Germany"):
        table = read_regions(folder / name)
    with open(folder / "country100.csv", encoding="utf-8", newline="") as file:
        gold = sorted({label for _, label in csv.reader(file)})
    assert table.missing(gold) == ["Germany"] and UN_M49.missing(gold) == []
    with pytest.raises(RegionError, match="Germany"):
        table.check(gold)
