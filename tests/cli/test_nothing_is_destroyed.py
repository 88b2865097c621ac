"""An input is never written over, under whatever name; a failure leaves nothing that is in the next one's way."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geograph_types.data import convert
from geograph_types.model import GeographModel
from geograph_types.synthetic import write_sample


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One small input of each kind, and a link to it."""
    folder = tmp_path_factory.mktemp("world")
    convert(write_sample(folder / "rows.jsonl", 60), folder / "store", quiet=True)
    places = {"id": [1, 2, 3], "gridimage_id": [1, 2, 3], "lat": [51.0, 52, 53], "lon": [0.0, -1, -2]}
    pd.DataFrame(places).to_csv(folder / "places.csv", index=False)
    osv = {"id": [1], "latitude": [32.0], "longitude": [-99.0], "captured_at": [1_600_000_000_000]}
    osv |= {"climate": [14], "region": ["Texas"], "unique_sub-region": ["Some"], "unique_city": ["City"]}
    pd.DataFrame(osv).to_csv(folder / "train_mini.csv", index=False)
    (folder / "captions.txt").write_text("a church in Kent\n")
    (folder / "labels.txt").write_text("Kent\n")
    results = "Gold\tPredictions\tProbabilities\nKent\t['Kent']\t[1.0]\n"
    (folder / "results.csv").write_text(results)
    np.save(folder / "vectors.npy", np.ones((3, 512), np.float32))
    (folder / "train_images/Texas").mkdir(parents=True)
    for name in ("photo.jpg", "other.jpg", "train_images/Texas/1.jpg"):
        Image.new("RGB", (64, 48), "green").save(folder / name)
    GeographModel().save_pretrained(folder / "model")
    for name in ("rows.jsonl", "places.csv", "captions.txt", "results.csv", "vectors.npy"):
        (folder / f"link-{name}").symlink_to(folder / name)
    return folder


def content(folder):
    """Every file with its bytes."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        "predict {0}/rows.jsonl --out {0}/rows.jsonl --model {0}/model",
        "predict {0}/rows.jsonl --out {0}/link-rows.jsonl --model {0}/model",
        "predict {0}/link-rows.jsonl --out {0}/rows.jsonl --model {0}/model",
        "predict {0}/store --out {0}/store/out.csv --model {0}/model",
        "zeroshot dedupe {0}/places.csv {0}/places.csv",
        "zeroshot dedupe {0}/places.csv {0}/link-places.csv",
        "zeroshot dedupe {0}/store {0}/store/kept.csv --by likeness",
        "zeroshot score {0}/results.csv --out {0}/results.csv",
        "zeroshot score {0}/results.csv --against {0}/link-results.csv --out {0}/results.csv",
        "zeroshot confusion {0}/results.csv --out {0}/results.csv",
        "zeroshot label-counts {0}/captions.txt --labels {0}/labels.txt --out {0}/captions.txt",
        "zeroshot label-counts {0}/captions.txt --labels {0}/labels.txt --out {0}/labels.txt",
        "zeroshot classify {0}/vectors.npy --out {0}/vectors.npy --prompts types",
        "zeroshot classify {0}/vectors.npy --out {0}/labels.txt --gold {0}/labels.txt --prompts types",
        "coordinates prepare geograph {0}/places.csv {0}/places.csv",
        "coordinates prepare geograph {0}/link-places.csv {0}/places.csv",
        "coordinates prepare osv {0} {0}/train_mini.csv",
        "locate calibrate {0}/store {0}/places.csv --positions {0}/places.csv --model {0}/model",
        "locate check {0}/store {0}/labels.txt --positions {0}/places.csv --out {0}/places.csv --model {0}/model",
        "locate evaluate {0}/store --positions {0}/places.csv --out {0}/places.csv --model {0}/model",
        "convert {0}/rows.jsonl {0}/rows.jsonl",
        "embed {0}/photo.jpg {0}/other.jpg",
    ],
)
def test_an_input_is_never_written_over(command, world, end_of):
    before = content(world)
    for overwrite in ([], ["--overwrite"]):
        end = end_of(*command.format(world).split(), *overwrite)
        assert content(world) == before, end.err
        assert end.status == 1 and "error: " in end.err and "Traceback" not in end.err, end.err
        assert "remove" not in end.err, end.err  # nobody is told to remove a photograph


@pytest.mark.parametrize("command", ["predict {0}/rows.jsonl --out {0}/new.csv --model {0}/model"])
def test_planted_links_are_not_followed(command, world, tmp_path, here):
    (tmp_path / "precious").write_text("mine")
    for name in ("new.csv.tmp", ".new.csv", "new.csv.rejects.jsonl.tmp"):
        (world / name).symlink_to(tmp_path / "precious")
    here(*command.format(world).split())
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_store_does_not_grow_behind_a_link(world, tmp_path, end_of):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new.partial").symlink_to(tmp_path / "elsewhere")
    end = end_of("convert", world / "rows.jsonl", tmp_path / "new")
    assert "new.partial is a link" in end.err and not any((tmp_path / "elsewhere").iterdir())


def test_a_mended_source_is_not_taken_for_another(tmp_path, here):
    """What a failed `convert` leaves must not block the next one."""
    source = write_sample(tmp_path / "rows.jsonl", 60)
    good = source.read_text()
    source.write_text("no row\n" * 100 + good)
    convert_it = ("convert", source, tmp_path / "store", "--shard-size", 20)
    assert "100 of 160 rows rejected" in here(*convert_it, status=1)[1]
    source.write_text(good)
    here(*convert_it)
    assert sorted(os.listdir(tmp_path)) == ["rows.jsonl", "store"]


def test_the_demo_keeps_to_a_folder_of_its_own(world, end_of):
    before = content(world)
    assert "holds other files" in end_of("demo", world).err
    assert content(world) == before


def test_no_store_without_a_row(tmp_path, end_of):
    (tmp_path / "rows.jsonl").write_text("no row\n" * 100)
    end = end_of("convert", tmp_path / "rows.jsonl", tmp_path / "store", "--max-reject-share", 1)
    assert "no row that can be used, and 100 that cannot" in end.err and not (tmp_path / "store").exists()


def test_a_training_that_came_to_nothing_blocks_no_other(world, tmp_path, monkeypatch, here):
    from geograph_types.training import run

    def broken(*_, **__):
        raise MemoryError("no room")

    whole = run.fit
    monkeypatch.setattr(run, "fit", broken)
    train = ("train", world / "store", tmp_path / "run", "--epochs", 1)
    assert "no room" in here(*train, status=1)[1]
    monkeypatch.setattr(run, "fit", whole)
    here(*train, "--seed", 7)


def test_a_loss_that_is_no_number_is_an_error(world, tmp_path, end_of):
    train = ("train", world / "store", tmp_path / "run", "--epochs", 2)
    end = end_of(*train, "--set", "learning_rate=1e38")
    assert "became NaN or infinite" in end.err and not (tmp_path / "run/model").exists(), end.err


def test_a_damaged_checkpoint_is_named_without_torchs_advice(world, tmp_path, here):
    train = ("train", world / "store", tmp_path / "run", "--epochs")
    here(*train, 1)
    last = tmp_path / "run/checkpoints/last.ckpt"
    whole = last.read_bytes()
    for data in (b"", whole[: len(whole) // 2], b"no checkpoint"):
        last.write_bytes(data)
        _, words = here(*train, 2, status=1)
        assert "error: " in words and "last.ckpt" in words and "weights_only" not in words, words
