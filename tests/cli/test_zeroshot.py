"""The zero-shot commands as a queue runs them: exit codes, kills, parts, progress files."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from geograph_types.cli.zeroshot import app
from geograph_types.places import UN_M49
from geograph_types.zeroshot import TextFeatures, read_results

pytest.importorskip("ahocorasick_rs", reason="the extra `geo` is not installed")
COMMAND = [Path(sys.executable).with_name("geograph-types"), "zeroshot"]


def zeroshot(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[Path, dict[str, int]]:
    """Synthetic captions in twelve files, and how many of them hold each country's name."""
    folder, dice = tmp_path_factory.mktemp("captions"), random.Random(3)
    names = ["Niger", "Nigeria", "Oman", "Romania", "Côte d'Ivoire"]
    held = dict.fromkeys(UN_M49.labels, 0)
    filler = ["nigerian", "romance", "woman", "a", "photo", "of", "the", "sunset", "nigeria2", "c\u00f4te"]
    for number in range(12):
        lines = []
        for _ in range(60_000):
            words = dice.choices(filler, k=8)
            if dice.random() < 0.2:
                name = dice.choice(names)
                words[dice.randrange(8)] = dice.choice([name, name.upper(), f"({name})"])
                held[name] += 1
            lines.append(" ".join(words))
        (folder / f"{number:02}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, held


def counted(path: Path) -> dict[str, int]:
    return pd.read_csv(path).set_index("label")["count"].to_dict()


def test_a_killed_count_goes_on_and_is_exact(corpus, tmp_path):
    folder, held = corpus
    out, progress = tmp_path / "counts.csv", tmp_path / "progress.json"
    command = [*COMMAND, "label-counts", folder, "--out", out, "--workers", "1", "--progress-file", progress]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    journal = tmp_path / "counts.csv.parts" / "part-1-of-1.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(journal.read_bytes().splitlines())
    assert 0 < done < 12 and not out.exists()

    refused = zeroshot("label-counts", folder, "--out", out, "--method", "tokens")
    assert refused.returncode == 1 and refused.stderr.startswith("error: ")
    assert "It differs in: method ('words' then, 'tokens' now)" in refused.stderr and not out.exists()

    result = zeroshot("label-counts", folder, "--out", out, "--workers", 2, "--progress-file", progress)
    assert result.returncode == 0 and not result.stdout
    assert "720,000 captions in: 720,000 used" in result.stderr
    assert counted(out) == held
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.csv", "progress.json"]
    state = json.loads(progress.read_text())
    assert (state["done"], state["total"], state["finished"]) == (12, 12, True)


def test_an_array_of_jobs_gives_the_same_counts(corpus, tmp_path):
    folder, held = corpus
    out = tmp_path / "counts.csv"
    for part in ("1/3", "2/3", "3/3"):
        result = zeroshot("label-counts", folder, "--out", out, "--part", part, "--workers", 1)
        assert result.returncode == 0, result.stderr
    result = zeroshot("label-counts", folder, "--out", out)
    assert result.returncode == 0, result.stderr
    assert counted(out) == held


LIKE = ("--by", "likeness", "--threshold", "0.4")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> Path:
    """40,000 random vectors, and what a search for likenesses keeps of them when nobody stops it."""
    folder = tmp_path_factory.mktemp("vectors")
    rows = np.random.default_rng(0).normal(size=(40_000, 64)).astype(np.float32)
    np.save(folder / "vectors.npy", rows)
    undisturbed = CliRunner().invoke(
        app, ["dedupe", str(folder / "vectors.npy"), str(folder / "undisturbed.csv"), *LIKE]
    )
    assert undisturbed.exit_code == 0, undisturbed.output
    return folder


@pytest.mark.parametrize("way", ["killed", "interrupted"])
def test_a_stopped_search_for_likenesses_goes_on_and_a_second_one_is_refused(way, vectors, here, tmp_path):
    out, journal = tmp_path / "kept.csv", tmp_path / "kept.csv.parts" / "part-1-of-1.jsonl"
    arguments = ["dedupe", vectors / "vectors.npy", out, *LIKE]
    process = subprocess.Popen(
        list(map(str, [*COMMAND, *arguments])), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # at work, for as long as we like
    _, words = here("zeroshot", *arguments, status=1)
    assert "is being written by another process" in words
    process.send_signal(signal.SIGKILL if way == "killed" else signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == (-signal.SIGKILL if way == "killed" else 130)
    done = journal.read_bytes().splitlines()
    assert len(done) < 10 and not out.exists()

    here("zeroshot", *arguments)
    assert out.read_bytes() == (vectors / "undisturbed.csv").read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_vectors_without_a_direction_are_rejects_not_photographs_to_keep(here, end_of, tmp_path):
    vectors = np.random.default_rng(5).normal(size=(57, 16)).astype(np.float32)
    vectors[[3, 20, 21, 50]] = [[np.nan], [0], [np.inf], [0]]
    np.save(tmp_path / "v.npy", vectors)
    words = " ".join(here("zeroshot", "dedupe", tmp_path / "v.npy", tmp_path / "o.csv", "--by", "likeness"))
    assert "57 vectors in: 53 used, 4 rejected; the first in row 3: NaN or infinite: 16 of 16" in words
    assert not {3, 20, 21, 50} & set(pd.read_csv(tmp_path / "o.csv")["row"])
    for bad, said in ((np.zeros((3, 16)), "all zeros"), (np.zeros((0, 512)), "holds no row")):
        np.save(tmp_path / "bad.npy", bad)
        command = ["zeroshot", "dedupe", tmp_path / "bad.npy", tmp_path / "x.csv", "--by", "likeness"]
        status, _, words = end_of(*map(str, command))
        assert status == 1 and said in words and "bad.npy" in words and not list(tmp_path.glob("x.csv*"))


@pytest.mark.parametrize("line", ["[" * 100_000, "a" * 100_000, "Kent\t" + "b" * 100_000])
def test_a_line_that_is_no_label_is_said_at_once_and_in_few_words(line, end_of, vectors, tmp_path):
    (tmp_path / "labels.txt").write_text(f"Kent\n{line}\n")
    (tmp_path / "captions.txt").write_text("a photo of Kent\n")
    count = ["label-counts", tmp_path / "captions.txt", "--labels"]
    ask = ["classify", vectors / "vectors.npy", "--prompts", "county", "--only"]
    for words in (count, ask):
        status, _, said = end_of("zeroshot", *words, tmp_path / "labels.txt", "--out", tmp_path / "o.csv")
        assert status == 1 and "labels.txt, line 2: 100,000 characters" in said
        assert len(said) < 500 + len(str(tmp_path))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("bad.json", b"[1, 2]\n", "bad.json holds no row with columns"),
        ("bad.jsonl", b"1\n[2]\n", "bad.jsonl holds no row with columns"),
        ("bad.parquet", b"PAR1 not a whole file", "bad.parquet is damaged"),
        ("bad.parquet", b"hello", "bad.parquet is damaged"),
        ("bad.jsonl", b"", "bad.jsonl"),
    ],
)
def test_what_holds_no_captions_is_said_in_one_sentence(name, content, said, end_of, tmp_path):
    (tmp_path / name).write_bytes(content)
    status, _, words = end_of("zeroshot", "label-counts", tmp_path / name, "--out", tmp_path / "o.csv")
    assert status == 1 and said in words and ".." not in words and "columns ;" not in words, words
    if name == "bad.parquet":  # the one reader of tables says it likewise
        status, _, words = end_of("zeroshot", "score", tmp_path / name)
        assert status == 1 and said in words and ".." not in words, words


def test_wrong_options_and_missing_files_have_their_exit_codes(tmp_path):
    assert zeroshot("label-counts", tmp_path / "none.txt").returncode == 2  # --out is missing
    missing = zeroshot("label-counts", tmp_path / "none.txt", "--out", tmp_path / "x.csv")
    assert missing.returncode == 1 and "no such file of captions" in missing.stderr
    other = zeroshot("classify", tmp_path / "none", "--out", tmp_path / "x.csv")
    assert other.returncode == 1 and "Traceback" not in other.stderr


def test_classify_by_region_from_the_command_line(tmp_path):
    """Regions, softly and hard, with vectors of prompts from files; then the scores compared."""
    rng = np.random.default_rng(0)
    names = ["Kent", "Sussex", "Fife", "Angus", "Flintshire"]
    centres = rng.normal(size=(5, 512)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    gold = rng.choice(5, 3000)
    np.save(
        tmp_path / "v.npy", (9 * centres[gold] + rng.normal(scale=0.9, size=(3000, 512))).astype(np.float32)
    )
    pd.DataFrame({"id": np.arange(3000), "label": np.array(names)[gold]}).to_csv(
        tmp_path / "gold.csv", index=False, header=False
    )
    (tmp_path / "names.txt").write_text("\n".join(names))
    TextFeatures(tuple(names), centres, 30.0).write(tmp_path / "t.npz")
    means = np.stack([centres[:2].mean(0), centres[4], centres[2:4].mean(0)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    TextFeatures(("England", "Wales", "Scotland"), means, 30.0).write(tmp_path / "t-regions.npz")
    for way in ("direct", "soft", "hard"):
        result = zeroshot(
            "classify",
            tmp_path / "v.npy",
            "--out",
            tmp_path / f"{way}.csv",
            "--prompts",
            "county",
            "--only",
            tmp_path / "names.txt",
            "--features",
            tmp_path / "t.npz",
            "--gold",
            tmp_path / "gold.csv",
            "--way",
            way,
            "--piece-rows",
            1000,
        )
        assert result.returncode == 0, result.stderr
        assert len(read_results(tmp_path / f"{way}.csv")) == 3000
    result = zeroshot(
        "score",
        tmp_path / "direct.csv",
        "--against",
        tmp_path / "soft.csv",
        "--out",
        tmp_path / "f1.csv",
        "--figure",
        tmp_path / "f1.png",
        "--report",
        tmp_path / "report.html",
    )
    assert result.returncode == 0, result.stderr
    assert "3,000 photographs" in result.stderr
    assert "How good are the answers?" in (tmp_path / "report.html").read_text("utf-8")
    assert (
        pd.read_csv(tmp_path / "f1.csv", index_col=0).shape == (5, 3)
        and (tmp_path / "f1.png").stat().st_size > 5000
    )


def test_published_results_become_maps(published, tmp_path):
    pytest.importorskip("geopandas")
    inside = CliRunner()  # in this process: what it loads is loaded once
    folder = published / "geoguessr"
    results = folder / "resultcsv" / "country100_results.csv"
    areas = folder / "boundaries" / "world-administrative-boundaries.shp"
    for name, more in (
        ("f1.html", ()),
        ("f1.png", ()),
        ("where.png", ("--positions", folder / "country100_geoestimation.csv")),
    ):
        command = ["map", results, tmp_path / name, "--areas", areas, *more]
        result = inside.invoke(app, list(map(str, command)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert (tmp_path / name).stat().st_size > 20_000
    inside.invoke(app, ["dedupe", str(folder / "country100_geoestimation.csv"), str(tmp_path / "kept.csv")])
    assert 0 < len(pd.read_csv(tmp_path / "kept.csv")) < 11_500
