"""Every long job: killed and started again, two at once, and started again with something else."""

import itertools
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from long_job import do
from processes import PROCESSES

from geograph_types.synthetic import write_sample

NUMBERS = itertools.count()
JOBS = ["convert", "classify", "count", "dedupe", "encode"]
ROWS = 600


@pytest.fixture(autouse=True)
def needs_the_extra(request):
    if "count" in request.node.name:
        pytest.importorskip("ahocorasick_rs", reason="the extra `geo` is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Synthetic inputs of all jobs, ten steps' worth for each."""
    folder, rng = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    write_sample(folder / "sample.jsonl", ROWS)
    places = rng.normal(size=(200, 16))
    vectors = places[rng.integers(200, size=ROWS)] + rng.normal(scale=0.1, size=(ROWS, 16))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    labels = rng.choice(["Kent", "Fife", "Bute"], ROWS)
    (folder / "gold.csv").write_text("".join(f"{row},{label}\n" for row, label in enumerate(labels)))
    (folder / "captions").mkdir()
    for number in range(10):
        lines = [f"a church in {place}\n" for place in rng.choice(["Kent", "Fife", "Bute"], 50)]
        (folder / "captions" / f"{number}.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def inputs(made, tmp_path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "inputs")


class Started:
    """A job in a process of its own, in which the package is loaded already."""

    def __init__(self, job: str, inputs: Path, out: Path, told: dict):
        out.parent.mkdir(parents=True, exist_ok=True)
        self._said = out.parent.parent / f"said-{next(NUMBERS)}"
        self._process = PROCESSES.Process(target=do, args=(job, inputs, out, told, str(self._said)))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 120) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"still at work after {timeout} s")
        return self._process.exitcode

    def errors(self) -> str:
        """What it said until its end."""
        self.wait()
        return self._said.read_text()


def start(job: str, inputs: Path, out: Path, **told) -> Started:
    return Started(job, inputs, out, told)


def run(job: str, inputs: Path, out: Path, **told) -> str:
    """Standard error of a job that ends well."""
    process = start(job, inputs, out, **told)
    assert process.wait() == 0, process.errors()
    return process.errors()


def refused(job: str, inputs: Path, out: Path, **told) -> str:
    """The last line of a job that is refused."""
    process = start(job, inputs, out, **told)
    assert process.wait() == 1, process.errors()
    return process.errors().strip().splitlines()[-1]


def killed(job: str, inputs: Path, out: Path, step: int) -> None:
    process = start(job, inputs, out, dies_at=step)
    assert process.wait() == -9, process.errors()


def content(out: Path) -> dict[str, bytes]:
    """What a job made: its file, or the files of its folder."""
    files = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
    assert files
    return {str(path.relative_to(out.parent)): path.read_bytes() for path in files if path.suffix != ".lock"}


@pytest.fixture(scope="module")
def undisturbed(made, tmp_path_factory) -> dict:
    """What each job makes if nobody disturbs it, made once."""
    return {}


def expected(undisturbed: dict, job: str, made: Path, folder: Path) -> dict[str, bytes]:
    if job not in undisturbed:
        out = folder / "undisturbed" / "out"
        assert run(job, made, out) == "", "nobody watches, and there is something on standard error"
        assert [path for path in out.parent.iterdir() if path.name.startswith(".")] == [], (
            "a lock was left behind"
        )
        undisturbed[job] = content(out)
    return undisturbed[job]


@pytest.mark.parametrize("job", JOBS)
def test_killed_and_started_again_it_ends_as_an_undisturbed_one(job, made, inputs, undisturbed, tmp_path):
    out = tmp_path / "again" / "out"
    for step in (1, 4, 3):  # before anything was done; after three steps; after five
        killed(job, inputs, out, step)
    run(job, inputs, out, waits_at=7)  # only five steps are left: it never gets to its seventh
    assert content(out) == expected(undisturbed, job, made, tmp_path)


@pytest.mark.parametrize("job", JOBS)
def test_of_two_at_once_one_does_the_work(job, made, inputs, undisturbed, tmp_path):
    out = tmp_path / "both" / "out"
    out.parent.mkdir()
    first = start(job, inputs, out, waits_at=3)
    while not out.with_name("waiting").exists():
        assert first.poll() is None, first.errors()
        time.sleep(0.01)
    if job == "encode":  # who wants the same vectors waits until they are there
        second = start(job, inputs, out, dies_at=1)
        with pytest.raises(TimeoutError):
            second.wait(2)
    else:
        message = refused(job, inputs, out)
        assert (
            message.startswith("geograph_types.errors.JobError: ")
            and "is being written by another process" in message
        )
    out.with_name("go").touch()
    assert first.wait(60) == 0
    if job == "encode":
        assert second.wait(60) == 0, "it did a step of its own"
    assert content(out) == expected(undisturbed, job, made, tmp_path)


CHANGES = {  # what somebody may change meanwhile, and what the refusal says of it
    ("convert", "dtype"): "dtype ('float16' then, 'int8' now)",
    ("convert", "shard_size"): "shard_size (60 then, 50 now)",
    ("convert", "sample.jsonl"): "source.sha256",
    ("classify", "top_k"): "top_k (2 then, 1 now)",
    ("classify", "gold.csv"): "gold.sha256",
    ("classify", "vectors.npy"): "source.sha256",
    ("count", "labels"): "labels",
    ("count", "method"): "method ('words' then, 'tokens' now)",
    ("count", "nested"): "nested (True then, False now)",
    ("count", "captions/7.txt"): "files",
    ("dedupe", "threshold"): "threshold (0.9 then, 0.8 now)",
    ("dedupe", "vectors.npy"): "vectors_sha256",
}
VALUES = {
    "dtype": "int8",
    "shard_size": 50,
    "top_k": 1,
    "labels": "Kent Bute",
    "method": "tokens",
    "nested": False,
    "threshold": 0.8,
}


@pytest.mark.parametrize(("job", "change"), CHANGES)
def test_killed_and_started_again_with_something_else_it_is_refused(
    job, change, made, inputs, undisturbed, tmp_path
):
    out = tmp_path / "other" / "out"
    killed(job, inputs, out, 4)
    if change in VALUES:
        message = refused(job, inputs, out, options={change: VALUES[change]})
    else:
        swap_ends(inputs / change)
        message = refused(job, inputs, out)
        shutil.copy(made / change, inputs / change)
    assert f"It differs in: {CHANGES[job, change]}. Go on with the same ones" in message
    run(job, inputs, out)  # nothing was lost by that
    assert content(out) == expected(undisturbed, job, made, tmp_path)


def swap_ends(path: Path) -> None:
    """Other content of the same length, of the same kind."""
    if path.suffix == ".npy":
        np.save(path, np.load(path)[::-1])
    else:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(reversed(lines)))


def test_parts_work_side_by_side_and_the_whole_alone(made, inputs, undisturbed, tmp_path):
    out = tmp_path / "parts" / "out"
    out.parent.mkdir()
    first = start("classify", inputs, out, waits_at=2, options={"part": "1/2"})
    while not out.with_name("waiting").exists():
        assert first.poll() is None, first.errors()
        time.sleep(0.01)
    assert "another process" in refused("classify", inputs, out, options={"part": "1/2"})
    assert "another process" in refused("classify", inputs, out)
    run("classify", inputs, out, options={"part": "2/2"})
    out.with_name("go").touch()
    assert first.wait(60) == 0 and not out.exists()
    run("classify", inputs, out, dies_at=1)  # it only joins
    assert content(out) == expected(undisturbed, "classify", made, tmp_path)
