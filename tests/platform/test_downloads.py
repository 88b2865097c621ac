"""Downloads of all variants become one store; rows in are rows used and rows rejected."""

import csv
import gzip
import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from geograph_types.cli.root import app
from geograph_types.errors import FileFormatError, JobError, RecipeError, TooManyRejects
from geograph_types.platform import read_download
from geograph_types.store import EmbeddingStore, encode_vector, rewrite_store
from geograph_types.synthetic import make_platform, write_download, write_downloads

SAMPLE = make_platform(120, seed=4)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return write_downloads(tmp_path_factory.mktemp("downloads"), SAMPLE, starred=0.2)


def row_sum(summary):
    return summary.read, summary.used, sum(summary.rejects.values())


def half(vectors):
    """As stores keep them unless told otherwise."""
    return vectors.astype(np.float16).astype(np.float32)


def check_against_sample(store):
    """Row by row: vectors and labels are those that were drawn."""
    table = SAMPLE.table.set_index("gridimage_id")
    order = [SAMPLE.table["gridimage_id"].tolist().index(number) for number in store.metadata["gridimage_id"]]
    for name, vectors in store.sets.items():
        assert np.array_equal(vectors[:], half(SAMPLE.vectors[name][order]))
    for row in store.metadata.itertuples():
        drawn = table.loc[row.gridimage_id]
        people, offered = ({tag for tag in text.split("; ") if tag} for text in (row.tags, row.suggested))
        assert people | offered == {*drawn.context, drawn.subject} and not people & offered
        assert row.title == f"{drawn.subject} & fields" and row.types == drawn.types
        assert (row.baysian, row.score) == (np.float32(drawn.baysian), np.float32(drawn.score))


def test_files_join_by_number(downloads, tmp_path):
    summary = read_download(list(downloads.values()), tmp_path / "store", quiet=True)
    lines = sum(len(path.read_text().splitlines()) - (path.suffix == ".csv") for path in downloads.values())
    assert row_sum(summary) == (lines, lines, 0)
    store = EmbeddingStore.open(tmp_path / "store")
    assert list(store.sets) == ["clip-image", "clip-title", "pe-image"] and len(store) == 120
    check_against_sample(store)
    assert store.verify() == 4
    assert not (tmp_path / "store.rows").exists()


def test_order_of_files_shards_and_compression_do_not_matter(downloads, tmp_path):
    packed = tmp_path / "context.csv.gz"
    packed.write_bytes(gzip.compress(downloads["context"].read_bytes()))
    files = [downloads["votes"], downloads["pe"], packed, downloads["subject"]]
    read_download(files, tmp_path / "store", shard_size=50, quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    assert [shard["rows"] for shard in store.manifest["shards"]] == [50, 50, 20]
    check_against_sample(store)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_files_one_behind_the_other(kind, tmp_path):
    whole = tmp_path / f"all.{kind}"
    parts = [
        write_download(tmp_path / f"{name}.{kind}", SAMPLE, [], "subject", (f"clip-{name}",))
        for name in ("image", "title")
    ]
    text = "".join(part.read_text() for part in parts)
    assert "type" not in text.splitlines()[0]
    if kind == "csv":
        header, *rows = parts[1].read_text().splitlines()
        first = parts[0].read_text().splitlines()
        lines = [
            f"{header},type",
            *(f"{row},image" for row in first[1:]),
            f"{header},type",
            *(f"{row},title" for row in rows),
        ]
    else:
        lines = [
            json.dumps(json.loads(line) | {"type": what})
            for part, what in zip(parts, ("image", "title"))
            for line in part.read_text().splitlines()
        ]
    whole.write_text("\n".join(lines))
    summary = read_download(whole, tmp_path / "store", quiet=True)
    assert row_sum(summary) == (240, 240, 0)
    store = EmbeddingStore.open(tmp_path / "store")
    order = [SAMPLE.table["gridimage_id"].tolist().index(number) for number in store.metadata["gridimage_id"]]
    assert np.array_equal(store.sets["clip-title"][:], half(SAMPLE.vectors["clip-title"][order]))


def test_what_does_not_join_is_counted(downloads, tmp_path):
    rows = list(csv.DictReader(downloads["context"].open()))
    number = rows[0]["gridimage_id"]
    other = encode_vector(np.ones(512))
    rows.append(rows[1] | {"embeddings": other})  # a second vector of the same photograph
    rows.append(dict(rows[2]))  # a row twice
    rows.append(rows[0] | {"gridimage_id": "9", "type": "image"})  # no title, and no Perception Encoder
    rows.append(rows[0] | {"embeddings": "AAAA"})
    with open(tmp_path / "context.csv", "w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    votes = tmp_path / "votes.csv"
    votes.write_text("gridimage_id,score\n8,3.5\n" + f"{number},4.5\n")  # the first has no vectors
    lines = downloads["pe"].read_text().splitlines()
    (tmp_path / "pe.jsonl").write_text(
        "\n".join(line for line in lines if f'"gridimage_id":{number},' not in line)
    )
    files = [tmp_path / "context.csv", tmp_path / "pe.jsonl", votes]
    summary = read_download(files, tmp_path / "store", quiet=True, max_reject_share=0.5)
    of_first = sum(row["gridimage_id"] == number for row in rows) - 1  # but the one of the wrong length
    assert summary.rejects["no pe-image vector"] == of_first + 1 + (
        1 if True else 0
    )  # also photograph 9, and the vote
    assert summary.rejects["no vector at all"] == 1
    assert summary.rejects["wrong length"] == 1
    assert summary.read == summary.used + sum(summary.rejects.values()) == len(rows) + 119 + 2
    store = EmbeddingStore.open(tmp_path / "store")
    assert len(store) == 119 and summary.rows == 119
    kept = [json.loads(line) for line in (tmp_path / "store/rejects.jsonl").read_text().splitlines()]
    assert {(one["file"], one["line"]) for one in kept if one["reason"] == "no vector at all"} == {
        ("votes.csv", 2)
    }
    with pytest.raises(TooManyRejects, match="no pe-image vector"):
        read_download(files, tmp_path / "few", quiet=True, max_reject_share=0.0)
    assert not (tmp_path / "few").exists() and not (tmp_path / "few.rows").exists()


def test_zero_is_unknown_and_stars_are_kept_apart(tmp_path):
    code = encode_vector(SAMPLE.vectors["clip-image"][0])
    rows = [
        f"1,Barn*,0,0,{code}",
        f"1,Barn,0,0,{code}",
        f"1,Farm*,0,0,{code}",
        f"2,Mill,51.5,-0.1,{encode_vector(SAMPLE.vectors['clip-image'][1])}",
    ]
    (tmp_path / "tags.csv").write_text("\n".join(["gridimage_id,tag,wgs84_lat,wgs84_long,embeddings", *rows]))
    read_download(tmp_path / "tags.csv", tmp_path / "store", quiet=True)
    table = EmbeddingStore.open(tmp_path / "store").metadata
    assert table["tags"].tolist() == ["Barn", "Mill"] and table["suggested"].tolist() == ["Farm", ""]
    assert np.isnan(table["lat"][0]) and table["lat"][1] == 51.5


def test_wrong_vectors_are_refused(tmp_path):
    unit = SAMPLE.vectors["pe-image"] / np.linalg.norm(SAMPLE.vectors["pe-image"], axis=1, keepdims=True)
    rows = [
        json.dumps({"gridimage_id": n, "realname": "", "embeddings": encode_vector(v)})
        for n, v in enumerate(unit)
    ]
    (tmp_path / "unit.jsonl").write_text("\n".join(rows))
    with pytest.raises(RecipeError, match="divided by their length"):
        read_download(tmp_path / "unit.jsonl", tmp_path / "store", quiet=True)
    write_download(tmp_path / "titles.csv", SAMPLE, ["realname"], sets=("clip-title", "pe-title"))
    text = (tmp_path / "titles.csv").read_text()
    (tmp_path / "titles.csv").write_text(text)
    with pytest.raises(FileFormatError, match="titles alone"):
        read_download(tmp_path / "titles.csv", tmp_path / "store", quiet=True)
    (tmp_path / "labels.csv").write_text("gridimage_id,score\n1,2.5\n")
    with pytest.raises(FileFormatError, match="no row with a vector"):
        read_download(tmp_path / "labels.csv", tmp_path / "store", quiet=True)


def test_a_killed_run_goes_on(downloads, tmp_path, monkeypatch):
    from geograph_types.platform import downloads as module

    monkeypatch.setattr(module, "_PART_ROWS", 100)
    files = list(downloads.values())
    read_download(files, tmp_path / "whole", quiet=True)
    keep, kept = module.RowFolder._keep, []

    def dying(self, parts, file):
        keep(self, parts, file)
        kept.append(file)
        if len(kept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.RowFolder, "_keep", dying)
    with pytest.raises(KeyboardInterrupt):
        read_download(files, tmp_path / "store", quiet=True)
    assert (tmp_path / "store.rows/progress.json").exists()
    monkeypatch.setattr(module.RowFolder, "_keep", keep)
    with pytest.raises(JobError, match="other inputs"):
        shutil.copytree(tmp_path / "store.rows", tmp_path / "other.rows")
        read_download(files[:2], tmp_path / "other", quiet=True)
    summary = read_download(files, tmp_path / "store", quiet=True)
    one, other = (EmbeddingStore.open(tmp_path / name) for name in ("store", "whole"))
    assert summary.read == summary.used
    for name in one.sets:
        assert np.array_equal(one.sets[name][:], other.sets[name][:])
    assert one.metadata.equals(other.metadata)


def test_the_command_takes_them(downloads, tmp_path):
    line = ["convert", *map(str, downloads.values()), str(tmp_path / "store")]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert "made store of 120 photographs" in done.stderr and ", 0 rejected" in done.stderr
    assert "with suggested tags" in done.stderr
    done = CliRunner().invoke(app, [*line, "--strict"])
    assert done.exit_code == 2 and "--strict has no effect" in done.stderr


def test_all_sets_are_kept_in_int8_and_exported(downloads, tmp_path):
    read_download(list(downloads.values()), tmp_path / "store", dtype="int8", quiet=True)
    rewrite_store(tmp_path / "store", tmp_path / "exported", quiet=True)
    small, exported = (EmbeddingStore.open(tmp_path / name) for name in ("store", "exported"))
    assert {"clip-image", "clip-title", "pe-image"} <= set(small.sets) == set(exported.sets)
    order = [SAMPLE.table["gridimage_id"].tolist().index(number) for number in small.metadata["gridimage_id"]]
    for name, vectors in small.sets.items():
        wanted = SAMPLE.vectors[name][order]
        assert (np.abs(vectors[:] - wanted) <= np.abs(wanted).max(axis=0) / 250).all()
        assert np.array_equal(exported.sets[name][:], half(vectors[:]))
        assert small.set_recipe(name) == exported.set_recipe(name)
    assert not list(exported.path.glob("*_scales")) and exported.verify() == len(small.sets) + 1
    assert exported.metadata.equals(small.metadata)
