"""Commands in pipes: the result alone on standard output, CSV or JSON Lines; sentences on standard error."""

import io
import json
import subprocess

import numpy as np
import pandas as pd
import pytest
from terminal import COMMAND, in_terminal
from typer.testing import CliRunner

from geograph_types.cli.root import app
from geograph_types.data import convert
from geograph_types.model import GeographModel
from geograph_types.store import encode_vector
from geograph_types.synthetic import write_sample
from geograph_types.zeroshot import TextFeatures


def run(*words, stdin: bytes | None = None, status: int = 0) -> tuple[str, str]:
    """Standard output and standard error of a command, neither of which is a terminal."""
    done = subprocess.run([COMMAND, *map(str, words)], input=stdin, capture_output=True, timeout=300)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sample, its store, a model of random weights and a table of zero-shot answers."""
    folder = tmp_path_factory.mktemp("pipes")
    write_sample(folder / "sample.jsonl", 300)
    convert(folder / "sample.jsonl", folder / "store", quiet=True)
    GeographModel().save_checkpoint(folder / "model.pth")
    rng = np.random.default_rng(0)
    names = ["Kent", "Sussex"]
    gold = rng.integers(0, 2, 200)
    centres = np.eye(2, 512, dtype=np.float32)
    np.save(folder / "v.npy", 9 * centres[gold] + rng.normal(size=(200, 512)).astype(np.float32))
    truth = pd.DataFrame({"id": range(200), "label": np.array(names)[gold]})
    truth.to_csv(folder / "gold.csv", index=False, header=False)
    (folder / "names.txt").write_text("\n".join(names))
    TextFeatures(tuple(names), centres, 20.0).write(folder / "text.npz")
    words = ["--prompts", "county", "--only", folder / "names.txt", "--features", folder / "text.npz"]
    classified = ["zeroshot", "classify", folder / "v.npy", "--out", folder / "answers.csv", *words]
    made = CliRunner().invoke(app, [*map(str, classified), "--gold", str(folder / "gold.csv")])
    assert made.exit_code == 0 and made.stdout == "", made.stderr
    return folder


def csv(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_tables_are_csv_in_a_pipe_and_json_lines_where_asked_for(here, folder):
    assert csv(run("verify", folder / "store")[0]).shape[0] >= 7
    assert len(lines(here("verify", folder / "store", "--json")[0])) >= 7
    for words in (["score", folder / "answers.csv"], ["confusion", folder / "answers.csv"]):
        assert len(csv(here("zeroshot", *words)[0])) == 2
        assert len(lines(here("zeroshot", *words, "--json")[0])) == 2


def test_a_sample_becomes_a_store(here, tmp_path):
    assert here("sample", tmp_path / "sample.jsonl", "--rows", 30)[0] == ""
    stdout, stderr = here("convert", tmp_path / "sample.jsonl", tmp_path / "store")
    assert stdout == "" and "30 rows in: 30 used, 0 rejected; made store" in stderr


def test_tables_fit_a_terminal(folder):
    for words in (["verify", folder / "store"], ["zeroshot", "score", folder / "answers.csv"]):
        drawn = in_terminal(*words)
        assert max(map(len, drawn.splitlines())) <= 80 and "…" not in drawn


def test_predictions_stream(here, folder):
    model = ["--model", folder / "model.pth"]
    table = csv(run("predict", folder / "store", *model)[0])
    assert len(table) == 300 and table["gridimage_id"].is_unique
    for words in (["--json"], ["--out", "-"]):
        stdout, stderr = here("predict", folder / "store", *model, *words)
        assert [row["gridimage_id"] for row in lines(stdout)] == table["gridimage_id"].tolist()
        assert stderr.splitlines()[-1] == "300 photographs in: 300 used, 0 rejected"
    broken = (folder / "sample.jsonl").read_bytes() + b"{}\n"
    stdout, stderr = run("predict", "-", *model, stdin=broken)
    assert len(csv(stdout)) == 300 and stderr.splitlines()[-1] == "301 rows in: 300 used, 1 rejected"
    assert here("predict", folder / "store", *model, "--quiet")[1] == ""


def test_what_there_is_to_say_of_rows_is_said_wherever_they_go(here, folder, tmp_path):
    model = ["--model", folder / "model.pth"]
    keys = ("gridimage_id", "embeddings")
    rows = [json.loads(line) for line in (folder / "sample.jsonl").read_text().splitlines()[:30]]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({key: row[key] for key in keys}) + "\n" for row in rows))
    for out in ([], ["--out", tmp_path / "tags.csv"]):
        said = here("predict", bare, *model, *out)[1]
        assert (
            "30 of the rows: " in said
            and "unknown" in said.lower()
            and "30 rows in: 30 used, 0 rejected" in said
        )
    rng = np.random.default_rng(0)
    other = rng.normal(0, 0.4, (30, 512)).astype(np.float32)  # without the outliers of CLIP's vectors
    lines = [{**row, "embeddings": encode_vector(vector)} for row, vector in zip(rows, other)]
    bare.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "lack the outliers" in here("predict", bare, *model)[1]


@pytest.mark.parametrize("words", ["predict", "context predict", "coordinates predict", "locate photographs"])
def test_an_output_is_looked_at_before_a_model_is_fetched(here, words, folder, tmp_path):
    out = tmp_path / "there.csv"
    out.write_text("mine")
    asked = [*words.split(), folder / "store", "--model", "nobody/nothing", "--out", out]
    assert "there.csv is there already" in here(*asked, status=1)[1] and out.read_text() == "mine"


def test_a_store_becomes_one_of_int8_and_is_exported_as_float16(here, folder):
    small, out = folder / "small", folder / "exported"
    stderr = here("convert", folder / "store", small, "--dtype", "int8")[1]
    assert "300 photographs in: 300 used, 0 rejected; made small" in stderr
    assert "3 files are as the manifest says" in here("verify", small)[1]
    here("convert", small, out)
    assert (
        np.load(next((out / "img_emb").iterdir())).dtype == np.float16
        and not (out / "img_emb_scales").exists()
    )
    assert "2 files are as the manifest says" in here("verify", out)[1]
    asked = ["predict", "--model", folder / "model.pth", "--out", "-"]
    assert len(lines(here(*asked, small)[0])) == 300
    words = here("convert", small, folder / "more", "--shard-size", 7, status=2)[1]
    assert "--shard-size has no effect" in words and not (folder / "more").exists()
    assert "which is read" in here("convert", small, small, "--overwrite", status=1)[1]
    assert len(lines(here(*asked, small)[0])) == 300


def test_what_exists_is_replaced_only_when_told(here, folder):
    model = ["--model", folder / "model.pth"]
    out = folder / "tags.csv"
    here("predict", folder / "store", "--out", out, *model)
    before = out.read_bytes()
    again = ["predict", folder / "store", "--out", out, *model]
    assert "give --overwrite" in here(*again, status=1)[1] and out.read_bytes() == before
    here(*again, "--overwrite")
    assert out.read_bytes() == before
    store = [folder / "sample.jsonl", folder / "again"]
    here("convert", *store)
    assert "--overwrite" in here("convert", *store, status=1)[1]
    assert np.load(next((folder / "again" / "img_emb").iterdir())).dtype == np.float16
    assert (
        "300 rows in: 300 used, 0 rejected; made again"
        in here("convert", *store, "--overwrite", "--dtype", "float32")[1]
    )
    assert np.load(next((folder / "again" / "img_emb").iterdir())).dtype == np.float32
    assert sorted(path.name for path in folder.glob("*again*")) == ["again"]
    mine = folder / "again.new" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("kept")
    (folder / ".again.new").mkdir()  # left by a process that was killed at the end
    assert "300 rows in: 300 used, 0 rejected; made again" in here("convert", *store, "--overwrite")[1]
    assert sorted(path.name for path in folder.glob("*again*")) == ["again", "again.new"] and mine.exists()
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("not a store")
    assert "expected a store" in here("convert", store[0], folder / "notes", "--overwrite", status=1)[1]
    assert (folder / "notes" / "mine.txt").exists()


@pytest.mark.parametrize(
    "words",
    [
        "predict STORE --model MODEL --out tags.csv --json",
        "predict STORE --model MODEL --workers 4",
        "predict STORE --model MODEL --device cpu",
        "predict STORE --model MODEL --weights w.pt",
        "zeroshot score ANSWERS --figure f.png",
        "zeroshot classify v.npy --out x.csv --regions r.json",
        "zeroshot confusion ANSWERS --pairs 3 --one Kent",
        "zeroshot dedupe v.npy kept.csv --threshold 0.5",
        "zeroshot label-counts captions.txt --out c.csv --figure f.png",
        "context train prepared STORE run --grid --mixup",
        "coordinates prepare geograph t.csv out.csv --local-months",
        "coordinates prepare osv folder out.csv --nations n.gpkg",
        "coordinates train t.csv run --store STORE --last-blocks 3",
        "locate train STORE run --clip ViT-B-32",
        "embed photo.jpg out --gpus 2",
    ],
)
def test_an_option_without_effect_is_wrong_use(here, words, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"STORE": folder / "store", "MODEL": folder / "model.pth", "ANSWERS": folder / "answers.csv"}
    stdout, stderr = here(*(known.get(word, word) for word in words.split()), status=2)
    assert "has no effect: " in " ".join(stderr.split()) or "have no effect" in stderr
    assert stdout == "" and not list(tmp_path.iterdir())


def test_a_device_that_is_not_here_is_named(here, folder):
    photograph = ["predict", folder / "photo.jpg", "--model", folder / "model.pth"]
    assert (
        "error: device tpu9: expected one that is here" in here(*photograph, "--device", "tpu9", status=1)[1]
    )
