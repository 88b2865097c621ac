"""The five commands that predict take photographs, rows, stores and arrays alike, and account for everything."""

import io
import json
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")
pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")

from geograph_types.clip import clip_recipe, embed_images
from geograph_types.context import ContextHead
from geograph_types.coordinates import (
    Backbone,
    CoordinateModel,
    CoordinatePredictor,
    DegreeTarget,
    PlaceLabels,
)
from geograph_types.model import GeographModel
from geograph_types.retrieval import GeoModel
from geograph_types.synthetic import write_photographs, write_sample
from geograph_types.zeroshot import TextFeatures

RECIPE = clip_recipe("ViT-M-32", "random:1")  # 512 numbers, as rows have; it knows nothing


def save_models(folder):
    """A model for each command, for one network; random weights."""
    GeographModel(recipe=asdict(RECIPE)).save_checkpoint(folder / "types.pth")
    ContextHead(recipe=asdict(RECIPE)).save_pretrained(folder / "context")
    GeoModel(clip_dim=512, recipe=asdict(RECIPE)).save_pretrained(folder / "places")
    heads = CoordinateModel(512, context=False)
    CoordinatePredictor(heads, DegreeTarget(), PlaceLabels(), recipe=RECIPE).save(folder / "coordinates")
    backbone = Backbone("resnet18", "random:1", image_size=64)
    looks = CoordinateModel(512, context=False, base_model=backbone.build())
    CoordinatePredictor(looks, DegreeTarget(), PlaceLabels(), backbone=backbone).save(folder / "looks")
    vectors = np.eye(3, 512, dtype=np.float32)
    TextFeatures(("Kent", "Fife", "Angus"), vectors, 20.0, RECIPE).write(folder / "prompts.npz")
    (folder / "names.txt").write_text("Kent\nFife\nAngus\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Six photographs of which one is broken, three rows of which one is broken, a store, an array."""
    folder = tmp_path_factory.mktemp("inputs")
    table = write_photographs(folder / "photographs", count=6)
    (folder / "photographs" / table["path"][2]).write_bytes(b"<html>")
    embed_images(folder / "photographs", folder / "store", RECIPE, dtype="float32", quiet=True)
    write_sample(folder / "rows.jsonl", rows=2)
    with open(folder / "rows.jsonl", "a") as file:
        file.write('{"gridimage_id": 1}\n')
    np.save(folder / "array.npy", np.random.default_rng(1).normal(size=(4, 512)).astype(np.float32))
    save_models(folder)
    return folder


COMMANDS = {
    "predict": "predict {inputs} --model {0}/types.pth",
    "context": "context predict {inputs} --model {0}/context",
    "locate": "locate {inputs} --model {0}/places --gallery britain-50km --top-k 2",
    "coordinates": "coordinates predict {inputs} --model {0}/coordinates",
    "zeroshot": "zeroshot classify {inputs} --prompts county --only {0}/names.txt --features {0}/prompts.npz",
}
ROWS_EACH = {"locate": 2}


@pytest.fixture
def run(world, end_of):
    """Runs a command in this process: its status, its words."""

    def run(command, *inputs, more=()):
        line = COMMANDS[command].replace("{inputs}", "INPUTS").format(world).split()
        place = line.index("INPUTS")
        return end_of(*line[:place], *inputs, *line[place + 1 :], *more)

    return run


def read(path):
    """A table that a command wrote; what `zeroshot` calls .csv is tab-separated."""
    return pd.read_json(path, lines=True) if path.suffix == ".jsonl" else pd.read_parquet(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_photographs_rows_stores_and_arrays_make_one_table(command, world, run, tmp_path):
    inputs = [world / name for name in ("photographs", "rows.jsonl", "store", "array.npy")]
    status, _, said = run(command, *inputs, more=("--out", tmp_path / "out.parquet"))
    table, each = read(tmp_path / "out.parquet"), ROWS_EACH.get(command, 1)
    assert (status, len(table)) == (0, (5 + 2 + 5 + 4) * each)
    assert "18 rows in: 16 used, 2 rejected (see out.parquet.rejects.jsonl); made out.parquet" in said
    assert "rows.jsonl: not used: " in said
    rejects = pd.read_json(tmp_path / "out.parquet.rejects.jsonl", lines=True)
    assert sorted(rejects["reason"]) == ["missing key", "not an image"]
    assert rejects["file"].str.endswith((".jpg", "rows.jsonl")).all()
    assert (rejects["line"] > 0).all()
    if command == "zeroshot":
        assert table["filename"].str.startswith("array.npy:").sum() == 4
        return
    assert table["image_path"].str.endswith(".jpg").tolist()[:5] == [True] * 5
    assert table["gridimage_id"].notna().sum() == (5 + 2 + 5) * each
    assert table["row"].dropna().astype(int).tolist()[-4 * each :: each] == [0, 1, 2, 3]
    assert not table.drop(columns=["file", "row", "gridimage_id", "image_path"]).isna().any(axis=None)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_asked_of_a_row_that_is_not_read(command, world, run, tmp_path):
    odd = {"weight": "heavy", "split": "mine", "types": ["Geograph"]}
    odd |= {} if command == "predict" else {"distance": {"metres": 4}}
    [row, *_] = map(json.loads, (world / "rows.jsonl").read_text().splitlines())
    (tmp_path / "rows.jsonl").write_text(json.dumps(row | odd) + "\n")
    photograph = sorted((world / "photographs").rglob("*.jpg"))[0]
    named = {"path": str(photograph), **odd} | ({"lat": "north"} if command in ("locate", "zeroshot") else {})
    (tmp_path / "photographs.jsonl").write_text(json.dumps(named) + "\n")
    inputs = (tmp_path / "rows.jsonl", tmp_path / "photographs.jsonl")
    status, _, said = run(command, *inputs, more=("--out", tmp_path / "out.parquet"))
    assert status == 0 and "2 rows in: 2 used, 0 rejected; made out.parquet" in said
    assert "photographs.jsonl: not used: weight, split, types" in said


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "zeroshot"])
def test_a_photograph_is_answered_as_the_rows_of_its_store_are(command, world, run, tmp_path):
    for name in ("photographs", "store"):
        assert run(command, world / name, more=("--out", tmp_path / f"{name}.jsonl"))[0] == 0
    one, other = (read(tmp_path / f"{name}.jsonl") for name in ("photographs", "store"))
    assert set(other) <= set(one)  # the types of photographs have Geograph's own tags, too
    numbers = other.select_dtypes("float").columns
    np.testing.assert_allclose(one[numbers], other[numbers], rtol=1e-3, atol=1e-4)
    assert one["image_path"].tolist() == other["image_path"].tolist()


@pytest.mark.parametrize("command", COMMANDS)
def test_one_broken_picture_ends_nothing_and_the_sum_comes_last(command, world, run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"")
    good = sorted((world / "photographs").rglob("*.jpg"))[:1]
    more = ("--out", tmp_path / "out.parquet") if command == "zeroshot" else ()
    status, out, err = run(command, tmp_path / "broken.jpg", *good, tmp_path / "gone.jpg", more=more)
    assert status == 0
    if command == "zeroshot":
        assert (
            "3 photographs in: 1 used, 2 rejected (see out.parquet.rejects.jsonl); made out.parquet" in err
            and "1 no such file" in err
        )
    else:
        assert "broken.jpg: empty: 0 bytes" in err and "gone.jpg: no such file" in err
        assert err.splitlines()[-1] == "3 photographs in: 1 used, 2 rejected"
        assert good[0].name in out


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_but_broken_pictures_is_an_error(command, run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"")
    end = run(command, tmp_path / "broken.jpg", more=("--out", tmp_path / "out.parquet"))
    assert "broken.jpg: empty: 0 bytes" in end.err and not (tmp_path / "out.parquet").exists()


def test_an_input_without_a_row_is_named(run, world, tmp_path):
    (tmp_path / "header.csv").write_text("gridimage_id,embeddings\n")
    status, out, said = run("predict", tmp_path / "header.csv", world / "array.npy")
    assert status == 0 and "header.csv holds no row" in said and "4 rows in: 4 used, 0 rejected" in said
    said = run("predict", tmp_path / "header.csv").err
    assert "header.csv holds no row" in said and "there is none" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_another_program_may_send_rows_or_a_table_of_photographs(command, world, run, monkeypatch, tmp_path):
    photo = sorted((world / "photographs").rglob("*.jpg"))[0]
    sent = {"rows": (world / "rows.jsonl").read_bytes(), "table": f"path,title\n{photo},A field\n".encode()}
    for name, data in sent.items():
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert run(command, "-", more=("--out", tmp_path / f"{name}.parquet"))[0] == 0
    lengths = [len(read(tmp_path / f"{name}.parquet")) for name in sent]
    assert lengths == [2 * ROWS_EACH.get(command, 1), ROWS_EACH.get(command, 1)]


def test_what_an_input_is_follows_from_its_content(world, run, tmp_path):
    (tmp_path / "download").write_bytes((world / "rows.jsonl").read_bytes())
    photo = sorted((world / "photographs").rglob("*.jpg"))[0]
    (tmp_path / "photo.csv").write_bytes(photo.read_bytes())
    (tmp_path / "here.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "list.txt").write_text("path;title\nhere.jpg;A field\n")
    run("predict", *tmp_path.glob("*"), more=("--out", tmp_path / "out.jsonl"))
    assert len(read(tmp_path / "out.jsonl")) == 2 + 3


def test_a_model_that_looks_takes_photographs_alone(world, here):
    predict = ("coordinates", "predict", "--model", world / "looks", "--json")
    out, err = here(*predict, world / "photographs")
    assert len(list(map(json.loads, out.splitlines()))) == 5
    assert err.splitlines()[-1] == "6 photographs in: 5 used, 1 rejected"
    assert "this model looks at photographs" in here(*predict, world / "rows.jsonl", status=1)[1]


def test_a_killed_classification_goes_on_with_the_store_it_made(world, run, tmp_path, monkeypatch):
    from geograph_types.zeroshot import Question

    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Question, "answer", lambda *_: sys.exit("killed"))
        assert run("zeroshot", world / "photographs", more=("--out", out)).err.endswith("killed")
    made = (tmp_path / "out.parquet.stores" / "0" / "manifest.json").stat().st_mtime_ns
    other = run("zeroshot", world / "rows.jsonl", more=("--out", out))
    assert "half-finished job of other inputs" in other.err
    with monkeypatch.context() as patch:
        patch.setattr("geograph_types.zeroshot.files.embed_images", None)  # it would have to be made again
        status, _, said = run("zeroshot", world / "photographs", more=("--out", out))
    assert (
        status == 0
        and "6 photographs in: 5 used, 1 rejected (see out.parquet.rejects.jsonl); made out.parquet" in said
        and made
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "out.parquet.rejects.jsonl"]


def test_context_of_rows_looks_at_their_titles_and_positions(world, run, tmp_path):
    sample = [json.loads(line) for line in (world / "rows.jsonl").read_text().splitlines()[:2]]
    plain = [{name: row[name] for name in ("gridimage_id", "embeddings")} for row in sample]
    kinds = {
        "plain": plain,
        "titled": [{**row, "title": "A canal"} for row in plain],
        "placed": [{**row, "wgs84_lat": 51.5, "wgs84_long": -0.1} for row in plain],
        "squared": [{**row, "grid_reference": "TQ3080"} for row in plain],
    }
    found = {}
    for name, rows in kinds.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        more = ("--out", tmp_path / f"{name}.parquet")
        assert run("context", tmp_path / f"{name}.jsonl", more=more)[0] == 0
        found[name] = read(tmp_path / f"{name}.parquet").select_dtypes("float").to_numpy()
    for name, option in {"titled": ("--title", "A canal"), "squared": ("--at", "TQ3080")}.items():
        more = (*option, "--out", tmp_path / "told.parquet", "--overwrite")
        assert run("context", tmp_path / "plain.jsonl", more=more)[0] == 0
        told = read(tmp_path / "told.parquet").select_dtypes("float").to_numpy()
        np.testing.assert_allclose(told, found[name], atol=1e-6)
        assert np.abs(told - found["plain"]).max() > 1e-4
    near = np.abs(found["placed"] - found["squared"]).max()
    assert near < np.abs(found["placed"] - found["plain"]).max() / 10


def test_photographs_are_embedded_from_standard_input(world, monkeypatch, here, tmp_path):
    names = sorted(str(path) for path in (world / "photographs").rglob("*.jpg"))[:2]
    sent = SimpleNamespace(buffer=io.BytesIO("\n".join(["path", *names]).encode()))
    monkeypatch.setattr(sys, "stdin", sent)
    embed = ("embed", "-", tmp_path / "store", "--clip", "ViT-M-32", "--pretrained", "random:1")
    assert "2 photographs in: 2 used, 0 rejected; made store" in here(*embed)[1]
