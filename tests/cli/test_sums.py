"""Photographs in = used + rejected, printed by the commands that write no table of answers; `test_killed` has the others."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from commands import make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    names = pd.read_csv(folder / "table.csv")["id"]
    lines = [f"{number},{label}" for number, label in zip(names[:4], ("Kent", "Fife", "Kent", "Fife"))]
    gold = [*lines, lines[2], f"{names[1]},Kent"]  # the same label again, and another one
    (folder / "gold.csv").write_text("\n".join(gold) + "\n")
    return folder


LINES = {
    "verify {0}/store": "store: 60 photographs in: 60 used, 0 rejected",
    "evaluate {0}/store --model {0}/types": "store: 60 photographs in: 12 used, 48 rejected (48 not of the split tes)",
    "train {0}/store OUT --epochs 1": "store: 60 photographs in: 60 used, 0 rejected",
    "context train {0}/prepared {0}/store OUT --epochs 1 --modalities img": "60 photographs in: 60 used, 0 rejected",
    "context evaluate {0}/prepared {0}/store --model {0}/context": "store: 60 photographs in: 12 used, 48 rejected (not test rows",
    "locate train {0}/store OUT --epochs 1": "store: 60 photographs in: 60 used, 0 rejected",
}


@pytest.mark.parametrize("line", LINES)
def test_every_command_prints_the_sum(line, world, here, tmp_path):
    said = here(*line.format(world).replace("OUT", str(tmp_path / "out")).split())[1]
    assert LINES[line] in said
    assert not re.search(r"\d photographs in: ", "".join(here("verify", world / "store", "--quiet")[1]))


def test_a_vector_that_is_none_is_named_and_left_out_of_a_copy(world, here, tmp_path):
    shutil.copytree(world / "store", tmp_path / "store")
    (tmp_path / "store/manifest.json").unlink()
    path = next((tmp_path / "store/img_emb").glob("*.npy"))
    vectors = np.load(path)
    vectors[3, 7] = np.nan
    np.save(path, vectors)
    said = here("verify", tmp_path / "store")[1]
    assert (
        "store: 60 photographs in: 59 used, 1 rejected (1 NaN or infinite)" in said
        and "convert STORE NEW" in said
    )
    predict = ("suggest", "--model", world / "types", "--out", tmp_path / "out.csv")
    assert "the vector in row 3. Leave them out" in here(*predict, tmp_path / "store", status=1)[1]
    assert (
        "60 photographs in: 59 used, 1 rejected (see rejects.jsonl); made made"
        in here("convert", tmp_path / "store", tmp_path / "made")[1]
    )
    assert "made: 59 photographs in: 59 used, 0 rejected" in here(*predict, tmp_path / "made")[1]
    strict = ("convert", tmp_path / "store", tmp_path / "strict", "--max-reject-share")
    assert "1 of 60 rows rejected, mostly for 'NaN or infinite'" in here(*strict, "0.01", status=1)[1]
    vectors[:] = np.nan
    np.save(path, vectors)
    assert "all 60 rows were rejected, so no store was made" in here(*strict, "1", status=1)[1]


def test_a_submission_of_other_photographs_is_none(world, here, tmp_path):
    shutil.copytree(world / "store", tmp_path / "store")
    shutil.rmtree(tmp_path / "store/metadata")
    (tmp_path / "store/manifest.json").unlink()
    words = ("context", "submit", world / "prepared", tmp_path / "store", tmp_path / "out.csv.zip")
    assert "has none of the 60 photographs of" in here(*words, "--model", world / "context", status=1)[1]
    assert not (tmp_path / "out.csv.zip").exists()


def test_right_answers_that_differ_are_left_out_and_named(world, here, tmp_path):
    said = here(
        *("zeroshot", "classify", world / "store", "--out", tmp_path / "out.csv", "--prompts", "county"),
        *("--only", world / "labels.txt", "--features", world / "features.npz", "--gold", world / "gold.csv"),
    )[1]
    number = pd.read_csv(world / "table.csv")["id"][1]
    assert (
        "gold.csv: 6 rows in: 3 used, 3 rejected; the first in line 2: two labels for one photograph" in said
    )
    assert f"two labels, which are left out: {number} (Fife in line 2, Kent in line 6)" in said
    assert "60 photographs in: 3 used, 57 rejected; made out.csv\n  57 without a right answer" in said
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 3


def test_vectors_that_are_none_are_rejects_of_an_array(world, here, tmp_path):
    vectors = np.load(world / "vectors.npy")[:20].copy()
    vectors[3, 7], vectors[5] = np.nan, 0
    np.save(tmp_path / "v.npy", vectors)
    said = here("predict", tmp_path / "v.npy", "--model", world / "types", "--out", tmp_path / "out.csv")[1]
    assert "20 rows in: 18 used, 2 rejected (see out.csv.rejects.jsonl); made out.csv" in said
    assert "1 NaN or infinite" in said and "1 all zeros" in said


def test_one_long_row_among_few_is_one_reject(world, here, tmp_path):
    rows = (world / "rows.jsonl").read_text().splitlines()[:30]
    (tmp_path / "rows.jsonl").write_text("\n".join([rows[0], " " * (40 << 20) + rows[1], *rows[2:]]))
    said = here("convert", tmp_path / "rows.jsonl", tmp_path / "store")[1]
    assert "30 rows in: 29 used, 1 rejected (see rejects.jsonl); made store" in said


def test_a_file_of_several_that_holds_no_row_is_named(world, here, tmp_path):
    (tmp_path / "empty.csv").write_text((world / "downloads/context.csv").read_text().splitlines()[0] + "\n")
    said = here("convert", tmp_path / "empty.csv", world / "downloads/pe.jsonl", tmp_path / "store")[1]
    assert "empty.csv holds no row" in said


def test_settings_that_are_no_yaml_are_named(world, here, tmp_path):
    train = ("train", world / "store", tmp_path / "run", "--set")
    assert "--set patience: " in here(*train, "patience=[", status=1)[1]
    assert "--set patience: " in here(*train, "patience=" + "[" * 2000, status=1)[1]


def test_a_models_file_of_weights_stands_for_its_folder(world, here):
    words = ("predict", world / "store", "--model", world / "types/model.safetensors")
    assert here(*words)[0] == here(*words[:3], world / "types")[0]
