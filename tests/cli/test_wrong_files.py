"""Whatever file a command is handed, the answer is a sentence that names it, and never a traceback."""

import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")


CONTENT = {
    "empty.csv": b"",
    "words.csv": b"colour,size\nred,4\n",
    "half.parquet": b"PAR1 not a whole file",
    "text.npy": b"no array",
    "text.pth": b"no checkpoint",
    "words.toml": b"epoch = 3\n",
    "bad.toml": b"epochs = = 3\n",
    "empty.jsonl": b"",
    "empty.sqlite": b"",
}


@pytest.fixture
def folder(tmp_path):
    """Files that are not what their names say, or nothing at all."""
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "bare").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "convert {0}/words.csv {0}/out",
        "convert {0}/empty.jsonl {0}/out",
        "convert {0}/half.parquet {0}/out",
        "convert {0}/none.csv {0}/out",
        "verify {0}/bare",
        "verify {0}/words.csv",
        "train {0}/bare {0}/run",
        "train {0}/bare {0}/run --config {0}/words.toml",
        "train {0}/bare {0}/run --config {0}/bad.toml",
        "train {0}/bare {0}/run --set epochs=none",
        "train {0}/bare {0}/run --with {0}/words.csv",
        "evaluate {0}/bare --model {0}/text.pth",
        "review rank {0}/bare --model {0}/text.pth --out {0}/queue.parquet",
        "review rank {0}/bare --model {0}/bare --out {0}/queue.parquet --details {0}/half.parquet",
        "review rank {0}/bare --model {0}/bare --out {0}/queue.parquet --context-labels {0}/words.csv",
        "review export {0}/empty.sqlite --out {0}/out.csv",
        "review report {0}/empty.sqlite --out {0}/out.html",
        "review export {0}/words.csv --out {0}/out.csv",
        "predict {0}/words.csv --model {0}/text.pth --out {0}/out.csv",
        "predict {0}/none.csv --model {0}/bare --out {0}/out.csv",
        "zeroshot score {0}/half.parquet",
        "zeroshot score {0}/words.csv",
        "zeroshot confusion {0}/empty.csv",
        "zeroshot dedupe {0}/half.parquet {0}/out.csv",
        "zeroshot dedupe {0}/words.csv {0}/out.csv",
        "zeroshot dedupe {0}/text.npy {0}/out.csv --by likeness",
        "zeroshot dedupe {0}/none.csv {0}/out.csv",
        "zeroshot label-counts {0}/half.parquet --out {0}/out.csv",
        "coordinates evaluate {0}/words.csv --model {0}/bare",
        "coordinates evaluate {0}/half.parquet --model {0}/bare",
        "coordinates train {0}/words.csv {0}/run --store {0}/bare",
        "coordinates predict {0}/bare --model {0}/text.pth",
        "coordinates prepare table {0}/words.csv {0}/out.parquet",
        "context train {0}/bare {0}/bare {0}/run",
        "context evaluate {0}/bare {0}/bare {0}/text.pth",
        "context submit {0}/bare {0}/bare {0}/text.pth {0}/out.csv.zip",
        "context prepare {0}/bare {0}/out",
        "locate train {0}/bare {0}/run",
        "locate train {0}/words.csv {0}/run",
        "locate evaluate {0}/bare --model {0}/bare",
        "locate check {0}/bare {0}/empty.csv --model {0}/bare",
    ],
)
def test_a_wrong_file_is_named(command, folder, end_of):
    status, _, words = end_of(*command.format(folder).split())
    assert "This is a bug" not in words, words
    assert status == 2 or "error: " in words, words
    named = [*CONTENT, "none.csv", "bare", "out.partial", "TrainingConfig", "epochs is"]
    assert status == 2 or any(name in words for name in named), words
    assert not (folder / "out.csv").exists() and not (folder / "run" / "config.json").exists()
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT  # what is read is not written


def test_an_empty_file_does_not_block_the_next(folder, monkeypatch):
    from geograph_types.data import convert
    from geograph_types.errors import FileFormatError
    from geograph_types.synthetic import write_sample

    with pytest.raises(FileFormatError, match="holds no row"):
        convert(folder / "empty.jsonl", folder / "store", quiet=True)
    assert convert(write_sample(folder / "sample.jsonl", 50), folder / "store", quiet=True).rows == 50
