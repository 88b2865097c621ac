"""Each way that once led to a wrong answer with exit status 0 ends with 1 and a sentence, in the commands themselves.

Three more have files of their own: vectors of another recipe (test_recipes), outputs onto inputs
(test_nothing_is_destroyed), and a training that SIGTERM stops (test_root).
"""

import http.server
import json
import shutil
import socket
import threading

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from commands import die, line_of, make_world, run
from processes import PROCESSES

from geograph_types import fetch


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    assert run(["convert", "rows.jsonl", "shards", "--shard-size", "20"], folder) == (0, "")
    return folder


def refused(words, folder):
    """What a command says that ends with an error of what it was handed."""
    status, said = run(words, folder)
    assert status == 1 and said.startswith("error: "), (status, said)
    return said


def lost(store):
    (store / "metadata/metadata_00001.parquet").unlink()


def added(store):
    shutil.copy(store / "img_emb/img_emb_00002.npy", store / "img_emb/img_emb_00003.npy")


def swapped(store):
    one, other = (store / f"img_emb/img_emb_0000{number}.npy" for number in (0, 1))
    one.rename(store / "aside")
    other.rename(one)
    (store / "aside").rename(other)


def cut(store):
    path = store / "img_emb/img_emb_00001.npy"
    path.write_bytes(path.read_bytes()[:-100])


def changed(store):
    path = store / "img_emb/img_emb_00001.npy"
    data = bytearray(path.read_bytes())
    data[9000] ^= 1
    path.write_bytes(data)


READERS = {
    "predict": "predict {store} --model {0}/types --out out.csv",
    "evaluate": "evaluate {store} --model {0}/types",
    "train": "train {store} run --epochs 1",
    "verify": "verify {store}",
    "context predict": "context predict {store} --model {0}/context --out out.csv",
    "locate evaluate": "locate evaluate {store} --model {0}/places --gallery britain-50km --all",
    "coordinates predict": "coordinates predict {store} --model {0}/coordinates --out out.csv",
    "classify": "zeroshot classify {store} --out out.csv --prompts county --only {0}/labels.txt "
    "--features {0}/features.npz",
    "dedupe": "zeroshot dedupe {store} out.csv --by likeness",
    "convert": "convert {store} out",
    "suggest": "suggest {store} --model {0}/types --out out.csv",
    "context train": "context train {0}/prepared {store} run --modalities img --epochs 1",
    "context submit": "context submit {0}/prepared {store} out.csv.zip --model {0}/context",
    "locate photographs": "locate photographs {store} --model {0}/places --gallery britain-50km --out out.csv",
    "locate train": "locate train {store} run --epochs 1",
    "locate calibrate": "locate calibrate {store} out.json --model {0}/places --gallery britain-50km",
    "coordinates train": "coordinates train {0}/table.csv run --store {store} --target sphere --no-context "
    "--epochs 1",
    "coordinates evaluate": "coordinates evaluate {0}/table.csv --model {0}/coordinates --store {store}",
    "review rank": "review rank {store} --model {0}/types --out out.parquet",
    "review promise": "review promise {store} --model {0}/types --out out.json",
}
SPOILED = [(spoil, name) for name in READERS for spoil in (lost, added, swapped, cut)]


@pytest.mark.parametrize(("spoil", "name"), [*SPOILED, (changed, "verify")])
def test_shards_that_do_not_belong_together(spoil, name, world, tmp_path):
    store = shutil.copytree(world / "shards", tmp_path / "store")
    spoil(store)
    said = refused(READERS[name].format(world, store=store).split(), tmp_path)
    assert "img_emb" in said or "metadata" in said, said
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["store"]


def test_a_store_without_checksums_says_so(world, tmp_path, capsys):
    store = shutil.copytree(world / "shards", tmp_path / "store")
    assert run(["verify", "store"], tmp_path) == (0, "")
    assert "6 files are as the manifest says, byte for byte" in capsys.readouterr().err
    (store / "manifest.json").unlink()
    assert run(["verify", "store"], tmp_path) == (0, "")
    assert "could not be compared" in capsys.readouterr().err


def test_nan_is_no_aerial_photograph(world, tmp_path):
    store = shutil.copytree(world / "shards", tmp_path / "store")
    (store / "manifest.json").unlink()
    path = store / "img_emb/img_emb_00001.npy"
    vectors = np.load(path)
    vectors[7] = np.nan
    np.save(path, vectors)
    assert run(READERS["predict"].format(world, store=store).split(), tmp_path) == (0, "")
    assert len(pd.read_csv(tmp_path / "out.csv")) == 59
    assert len((tmp_path / "out.csv.rejects.jsonl").read_text().splitlines()) == 1
    for name in ("evaluate", "coordinates predict"):
        status, said = run(READERS[name].format(world, store=store).split() + ["--overwrite"], tmp_path)
        assert status == 1 or len(pd.read_csv(tmp_path / "out.csv")) == 59, said


def test_a_finished_run_keeps_its_name(world, tmp_path):
    train = ["train", str(world / "shards"), "run", "--epochs", "1"]
    assert run(train, tmp_path) == (0, "")
    before = {path: path.read_bytes() for path in tmp_path.rglob("model/*")}
    refused(["train", str(world / "store"), *train[2:], "--seed", "7"], tmp_path)
    other = shutil.copytree(world / "shards", tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["recipe"]["pretrained"] = "laion2b_s34b_b79k"
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert "laion2b" in refused(["train", str(other), *train[2:]], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("model/*")} == before


HALF = {  # a job, how it is killed, and which of its inputs is another one afterwards
    "zeroshot classify": (5, "gold.csv", "{0},Fife\n"),
    "zeroshot label-counts": (2, "captions/1.txt", "a church in Fife\n"),
    "zeroshot dedupe by likeness": (2, "vectors.npy", None),
    "convert": (5, "rows.jsonl", None),
}


@pytest.mark.parametrize("name", HALF)
def test_a_half_finished_job_is_not_finished_with_other_inputs(name, world, tmp_path):
    moment, changed_file, text = HALF[name]
    inputs = shutil.copytree(world, tmp_path / "inputs")
    (inputs / "gold.csv").write_text("".join(f"{row},Kent\n" for row in range(20)))
    words = line_of(name, inputs)
    if name == "zeroshot classify":
        words += ["--gold", str(inputs / "gold.csv")]
    process = PROCESSES.Process(target=die, args=(words, str(tmp_path), moment))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    path = inputs / changed_file
    if path.suffix == ".npy":
        np.save(path, np.load(path)[::-1])
    elif path.suffix == ".jsonl":
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    else:
        rows = range(len(path.read_text().splitlines()))
        path.write_text("".join(text.format(row) for row in rows))
    assert "holds a half-finished job of other inputs" in refused(words, tmp_path)


def test_a_half_finished_store_is_not_finished_by_another_network(world, tmp_path):
    pytest.importorskip("open_clip")
    words = line_of("embed", world)
    process = PROCESSES.Process(target=die, args=(words, str(tmp_path), 4))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    words[words.index("random:1")] = "random:2"
    assert "recipe.pretrained ('random:1' then, 'random:2' now)" in refused(words, tmp_path)


@pytest.mark.parametrize("line", ['["0", "/etc/passwd"]', '["../../x", 5]', '["0", [5]]', '["0", -3]'])
def test_a_journal_leads_nowhere_else(line, world, tmp_path):
    words = line_of("zeroshot classify", world)
    process = PROCESSES.Process(target=die, args=(words, str(tmp_path), 4))
    process.start()
    process.join(60)
    (tmp_path / "out.csv.parts/part-1-of-1.jsonl").write_text(line + "\n")
    status, said = run(words, tmp_path)
    assert status == 1 and "out.csv.parts" in said or len(pd.read_csv(tmp_path / "out.csv")) == 20, said


MODELS = {
    "no configuration": lambda config: None,
    "a threshold of NaN": lambda config: {**config, "thresholds": [float("nan")] * 7},
    "a threshold above 1": lambda config: {**config, "thresholds": [1.2] * 7},
    "temperature 0": lambda config: {**config, "temperature": [0.0] * 7},
    "doubled classes": lambda config: {**config, "classes": ["Aerial"] * 7},
}


@pytest.mark.parametrize("how", MODELS)
def test_models_that_no_training_gives(how, world, tmp_path):
    model = shutil.copytree(world / "types", tmp_path / "model")
    config = MODELS[how](json.loads((model / "config.json").read_text()))
    if config is None:
        (model / "config.json").unlink()
    else:
        (model / "config.json").write_text(json.dumps(config))
    for name in ("predict", "evaluate"):
        words = READERS[name].format(tmp_path, store=world / "store").replace(f"{tmp_path}/types", str(model))
        assert str(model) in refused(words.split(), tmp_path)


def test_a_check_of_another_model(world, tmp_path):
    from geograph_types.retrieval import GeoModel

    GeoModel(512, 16, waves=8, hidden=16, dim=8).save_pretrained(tmp_path / "places")
    assert run(line_of("locate calibrate", world), tmp_path) == (0, "")
    words = line_of("locate check", world)
    words[words.index(f"{world}/check.json")] = "out.json"
    words[words.index(f"{world}/places")] = "places"
    assert "out.json was calibrated with another model" in refused(words, tmp_path)


def test_a_promise_of_another_model_or_of_training_rows(world, tmp_path):
    promise = f"review promise {world}/store --model {world}/types --out promise.json"
    assert run(promise.split(), tmp_path) == (0, "")
    rank = f"review rank {world}/store --out queue.parquet --promise promise.json --model"
    shutil.copytree(world / "types", tmp_path / "others")
    assert "a promise about model" in refused([*rank.split(), "others"], tmp_path)
    assert "a promise about Aerial" in refused([*rank.split(), f"{world}/context"], tmp_path)
    learnt = promise.replace("promise.json", "new.json").replace(f"{world}/types", "v2.3").split()
    assert "have learnt from" in refused([*learnt, "--split", "tra"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others", "promise.json"]


TABLES = {  # a table that lacks a column -> what reads it
    "gold.csv": "zeroshot classify {0}/store --out out.csv --prompts county --only {0}/labels.txt "
    "--features {0}/features.npz --gold gold.csv",
    "labels.parquet": "review promise {0}/store --model {0}/context --context-labels labels.parquet "
    "--out out.json",
    "test.parquet": "context submit . {0}/store out.csv.zip --model {0}/context",
    "places.csv": "locate evaluate {0}/store --model {0}/places --gallery britain-50km --positions places.csv",
    "answers.csv": "train {0}/store out --with answers.csv",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_column_that_is_missing_is_named(name, world, tmp_path):
    table = pd.DataFrame({"colour": ["red", "blue"], "size": [1, 2], "shape": ["round", "flat"]})
    if name.endswith(".csv"):
        table.to_csv(tmp_path / name, index=False)
    else:
        table.to_parquet(tmp_path / name)
    said = refused(TABLES[name].format(world).split(), tmp_path)
    assert name in said and "expected" in said
    assert [path.name for path in tmp_path.iterdir()] == [name]


BEFORE = {  # what is wrong without a look at the model, which would have to be fetched
    "predict": "predict none.jsonl --model v2.3 --out out.csv",
    "predict, there": "predict {0}/store --model v2.3 --out there",
    "evaluate": "evaluate none --model v2.3",
    "evaluate, there": "evaluate {0}/store --model v2.3 --report there",
    "train": "train none run --start nobody/nothing",
    "export": "export v2.3 --out there --overwrite --format json",
    "suggest": "suggest none --model v2.3 --out out.csv",
    "suggest, there": "suggest {0}/store --model v2.3 --out there",
    "label": "label v2.3 --url nowhere",
    "embed": "embed none store",
    "embed, there": "embed {0}/photographs there",
    "context predict": "context predict {0}/store --model nobody/nothing --out there",
    "context evaluate": "context evaluate {0}/prepared none --model nobody/nothing",
    "context submit": "context submit {0}/prepared {0}/store there --model nobody/nothing",
    "locate": "locate photographs {0}/store --out there",
    "locate words": "locate words beach --map there",
    "locate evaluate": "locate evaluate none",
    "locate train": "locate train none run --start geoclip",
    "locate calibrate": "locate calibrate none check.json",
    "locate check": "locate check {0}/store none.json",
    "coordinates predict": "coordinates predict {0}/store --model nobody/nothing --out there",
    "coordinates evaluate": "coordinates evaluate none.csv --model nobody/nothing --store {0}/store",
    "classify": "zeroshot classify {0}/vectors.npy --out there",
    "review rank": "review rank none --model v2.3 --out queue.parquet",
    "review promise": "review promise none --model v2.3 --out promise.json",
}


@pytest.mark.parametrize("name", BEFORE)
def test_what_needs_nothing_is_looked_at_before_the_network_is_asked(name, world, tmp_path, monkeypatch):
    import huggingface_hub

    def asked(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "download", asked)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    monkeypatch.setattr(socket.socket, "connect", asked)
    (tmp_path / "there").write_text("mine")
    refused(BEFORE[name].format(world).split(), tmp_path)
    assert (tmp_path / "there").read_text() == "mine"


def test_ids_that_are_missing_in_a_store_of_others(world, tmp_path):
    store = shutil.copytree(world / "store", tmp_path / "store")
    (store / "manifest.json").unlink()
    path = store / "metadata/metadata_00000.parquet"
    table = pd.read_parquet(path)
    table["gridimage_id"] = table["gridimage_id"].astype("Int64").where(table.index != 3)
    table.to_parquet(path)
    check = f"locate calibrate {store} out.json --model {world}/places --gallery britain-50km"
    for line in (READERS["classify"].format(world, store=store), check):
        said = run(line.split(), tmp_path)
        assert said == (0, "") or "1 photographs have no gridimage_id, expected one for each" in said[1]
    assert "no gridimage_id" in refused(READERS["dedupe"].format(store=store).split(), tmp_path)


def test_an_array_of_one_dimension(world, tmp_path):
    np.save(tmp_path / "one.npy", np.ones(512, np.float32))
    for name in ("classify", "dedupe"):
        words = READERS[name].format(world, store=tmp_path / "one.npy").split()
        assert "one.npy: got an array of shape (512,); expected (N, dim)" in refused(words, tmp_path)


def test_results_that_are_none(tmp_path):
    (tmp_path / "results.csv").write_bytes("Gold\tPredictions\n".encode("utf-16-le"))  # nothing says so
    said = refused(["zeroshot", "score", "results.csv"], tmp_path)
    assert "results.csv has the columns" in said and "expected also Predictions and Probabilities" in said


def test_foreign_weights_of_a_network(world, tmp_path):
    """PyTorch would advise to run what is in them."""
    import torch

    pytest.importorskip("open_clip")
    torch.save({"weight": np.zeros(3), "code": print}, tmp_path / "foreign.pth")
    said = refused([*line_of("embed", world), "--weights", "foreign.pth"], tmp_path)
    assert "foreign.pth" in said and "weights_only" not in said


def test_zeros_are_no_dataset(tmp_path, monkeypatch):
    class Zeros(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(bytes(1000))

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Zeros)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("GEOGRAPH_TYPES_MIRROR", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(fetch, "DATASET_BYTES", 1000)
    assert "no readable rows" in refused(["download", str(tmp_path)], tmp_path)
    assert not list(tmp_path.iterdir())
    server.shutdown()
    server.server_close()
