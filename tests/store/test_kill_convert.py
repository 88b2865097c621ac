"""`convert` killed with SIGKILL and run again ends as an undisturbed run does, and needs little memory."""

import glob
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from broken_rows import broken_lines
from processes import PROCESSES

from geograph_types.data import convert
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample

ROWS, SHARD_SIZE = 12_000, 600


def start(function, *arguments):
    """A process."""
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    return process


def run(source, store, shard_size):
    convert(source, store, shard_size=shard_size, quiet=True)


def content(store):
    """Every file of a store: its name and its bytes."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def assert_same(store, undisturbed):
    """Byte for byte, and nothing left beside it."""
    ours, theirs = content(store), content(undisturbed)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert not store.with_name(store.name + ".partial").exists()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Synthetic photographs, and after every thirtieth a row that is broken in one of the ways, each in its turn."""
    path = write_sample(tmp_path_factory.mktemp("source") / "sample.jsonl", ROWS)
    lines = path.read_text().splitlines()
    broken = broken_lines(json.loads(lines[-1]), earlier_id=json.loads(lines[0])["gridimage_id"])
    with open(path, "w") as file:
        for number, line in enumerate(lines):
            print(line, file=file)
            if number % 30 == 29:
                print(broken[number // 30 % len(broken)][1], file=file)
    return path


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    """The store of a run that nobody killed."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    run(source, store, SHARD_SIZE)
    return store


def kill_in_the_middle(source, store, more_shards, delay):
    """Start a conversion, and kill it some time after it wrote so many more shards; whether it was still at work."""

    def shards():
        return len(
            glob.glob(f"{store}.partial/metadata/*.parquet")
        )  # forgives a folder that vanishes meanwhile

    wanted, process = shards() + more_shards, start(run, source, store, SHARD_SIZE)
    while process.is_alive() and shards() < wanted:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


def test_the_undisturbed_store_has_what_it_should(undisturbed):
    assert len(EmbeddingStore.open(undisturbed)) == ROWS
    assert len((undisturbed / "rejects.jsonl").read_text().splitlines()) == ROWS // 30
    assert len(list((undisturbed / "img_emb").iterdir())) == ROWS // SHARD_SIZE


def test_killed_at_random_moments(source, undisturbed, tmp_path):
    """Until it has been killed at six different stages; a run that escapes is compared, and another one begun."""
    dice, stages, store = random.Random(2), set(), tmp_path / "store"
    for _ in range(40):
        if kill_in_the_middle(source, store, dice.randint(1, 4), dice.uniform(0, 0.02)):
            stages.add(len(list(tmp_path.glob("store.partial/img_emb/*.npy"))))
        else:
            assert_same(store, undisturbed)
            shutil.rmtree(store)
        if len(stages) >= 6:
            break
    assert len(stages) >= 6, f"killed only with {sorted(stages)} shards on disk"
    if not store.exists():
        run(source, store, SHARD_SIZE)
    assert_same(store, undisturbed)


def test_killed_before_a_single_shard_was_written(source, undisturbed, tmp_path):
    assert kill_in_the_middle(source, tmp_path / "store", 0, 0.0)
    run(source, tmp_path / "store", SHARD_SIZE)
    assert_same(tmp_path / "store", undisturbed)


def convert_and_die(source, store, moment):
    """A file goes into its place by os.replace; this conversion dies at one of these moments."""
    moments, rename = iter(range(1, 1000)), os.replace

    def die_when_due(moment_now):
        if moment_now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(temporary, path):
        die_when_due(next(moments))
        rename(temporary, path)
        die_when_due(next(moments))

    os.replace = replace
    convert(source, store, shard_size=200, max_reject_share=0.5, quiet=True)


@pytest.fixture(scope="module")
def small_source(source, tmp_path_factory):
    """The first 500 lines: with a shard of 200 rows, three renames for the shards, one for the manifest, a last one."""
    path = tmp_path_factory.mktemp("small") / "sample.jsonl"
    path.write_text("".join(source.read_text().splitlines(keepends=True)[:500]))
    return path


@pytest.fixture(scope="module")
def small_undisturbed(small_source):
    run(small_source, small_source.parent / "store", 200)
    return small_source.parent / "store"


def die_at_a_rename(source, store, moment):
    process = start(convert_and_die, source, store, moment)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and not store.exists()


@pytest.mark.parametrize("moment", range(1, 10))
def test_killed_before_or_after_each_rename(small_source, small_undisturbed, tmp_path, moment):
    die_at_a_rename(small_source, tmp_path / "store", moment)
    run(small_source, tmp_path / "store", 200)
    assert_same(tmp_path / "store", small_undisturbed)


# The peak of the process's own memory; getrusage would begin with that of the process that started it.
PEAK_MEMORY = """
import sys
from geograph_types.data import convert
convert(sys.argv[1], sys.argv[2], shard_size=int(sys.argv[3]), quiet=True)
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc to measure memory")
def test_memory_stays_below_700_mb(tmp_path):
    source = write_sample(tmp_path / "sample.jsonl.gz", 60_000)
    arguments = map(str, (source, tmp_path / "store", 50_000))
    output = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, *arguments], check=True, capture_output=True, text=True
    )
    assert int(output.stdout) / 1024 < 700
