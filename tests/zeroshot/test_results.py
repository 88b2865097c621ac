"""The published result tables, recomputed."""

import csv
import json

import pandas as pd
import pytest

from geograph_types.errors import FileFormatError
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


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("name", ["results.csv", "results.txt"])
def test_results_are_read_as_other_tables_are(name, encoding, separator, tmp_path):
    rows = [
        ["Gold", "Predictions", "Probabilities"],
        ["Côte", "['Côte']", "[0.5]", "1.jpg"],
        ["Oman", "[]", "[]", ""],
    ]
    text = "\n".join(separator.join(row) for row in rows) + "\n"
    (tmp_path / name).write_bytes(text.encode(encoding))
    frame = read_results(tmp_path / name)
    assert frame[["gold", "filename"]].to_numpy().tolist() == [["Côte", "1.jpg"], ["Oman", ""]]
    assert frame["predictions"].tolist() == [["Côte"], []]
    again = read_results(write_results(tmp_path / f"own-{name}", frame))
    assert again.to_dict("list") == frame.to_dict("list")


ROWS = [("Kent", ["Kent", "Fife"], [0.75, 0.25], "1.jpg"), ("Fife", ["Kent"], [0.5], "2.jpg")]


@pytest.mark.parametrize("change", [str.lower, str.title, str.upper])
@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.parquet", "r.jsonl", "r.json", "json.csv", "json.txt"])
def test_columns_of_results_may_be_written_in_any_case_in_every_kind(name, change, tmp_path):
    columns = list(map(change, ["gold", "predictions", "probabilities", "filename"]))
    table = pd.DataFrame(ROWS, columns=columns)
    path = tmp_path / name
    if name == "r.parquet":
        table.to_parquet(path)
    elif name in ("r.csv", "r.tsv"):
        table.to_csv(path, index=False, sep="," if name == "r.csv" else "\t")
    else:
        table.to_json(path, orient="records", lines=name != "r.json")
    frame = read_results(path)
    assert list(map(tuple, frame.to_numpy().tolist())) == ROWS and score_results(frame).top1 == 0.5


@pytest.mark.parametrize(
    "text", ['{"Gold": "' + "x" * 100_000 + '"}\n', "[1]\n", "y" * 100_000 + ",z\n1,2\n"]
)
def test_what_is_no_table_of_results_is_said_in_few_words(text, tmp_path):
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(FileFormatError, match="results.csv") as error:
        read_results(tmp_path / "results.csv")
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_a_label_that_is_a_list_an_object_or_very_long_is_a_reject(name, tmp_path, caplog):
    rows = [{"gold": gold, "predictions": ["Kent"], "probabilities": [0.5]} for gold in ("Kent", 17, None)]
    if name == "r.parquet":
        pd.DataFrame(rows).assign(gold=[["Kent"], ["Fife"], None]).to_parquet(tmp_path / name)
    else:
        rows += [rows[0] | {"gold": "x" * (1 << 24)}, rows[0] | {"predictions": ["x" * 300]}]
        rows += [rows[0] | {"gold": {"a": 1}}, rows[0] | {"gold": ["Kent"]}, rows[0] | {"filename": [1]}]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with caplog.at_level("INFO", "geograph_types"):
        frame = read_results(tmp_path / name)
    assert frame["gold"].fillna("").tolist() == ([""] if name == "r.parquet" else ["Kent", "17", ""])
    used, rejected = (1, 2) if name == "r.parquet" else (3, 5)
    assert f"{used + rejected} rows in: {used} used, {rejected} rejected" in caplog.text


def test_one_row_with_a_field_too_many_does_not_take_the_others_with_it(tmp_path, caplog):
    rows = ["Gold,Predictions,Probabilities", "Kent,[],[]", "Fife,[],[],1.jpg", "Kent,[],[]"]
    (tmp_path / "results.csv").write_text("\n".join(rows) + "\n")
    with caplog.at_level("INFO", "geograph_types"):
        assert read_results(tmp_path / "results.csv")["gold"].tolist() == ["Kent", "Kent"]
    assert "3 rows in: 2 used, 1 rejected; the first in line 3" in caplog.text


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
