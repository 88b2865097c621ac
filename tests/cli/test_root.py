"""How the program ends: with which exit status, and with which words."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geograph_types.data import convert
from geograph_types.synthetic import write_sample

COMMAND = Path(sys.executable).with_name("geograph-types")
TRAIN = 'corruption = "v2"\nepochs = 500\npatience = 500\nbatch_size = 64\n'


def run(*arguments):
    """A command, to its end."""
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of 600 synthetic photographs."""
    folder = tmp_path_factory.mktemp("store")
    convert(write_sample(folder / "sample.jsonl", 600), folder / "store", quiet=True)
    return folder / "store"


def test_what_was_handed_in_is_to_blame(tmp_path):
    result = run("verify", tmp_path / "nothing")
    assert result.returncode == 1 and result.stderr.startswith("error: ") and "Traceback" not in result.stderr


def test_wrong_use(tmp_path):
    assert run("verify").returncode == 2 and run("convert", "a", "b", "--colour", "red").returncode == 2


def test_a_bug_shows_where_it_is_and_asks_to_be_reported(store):
    code = (
        "import sys, geograph_types.cli.root as root, geograph_types.data as data\n"
        "def broken(*_): return {}['a bug']\n"
        "data.verify_splits = broken\n"
        f"sys.argv = ['geograph-types', 'verify', {str(store)!r}]\nroot.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "KeyError: 'a bug'" in result.stderr
    assert "This is a bug of geograph_types" in result.stderr and "report it" in result.stderr


def test_what_swallows_a_signal_or_waits_without_end_is_ended(store):
    """An exception in the midst of a library may be lost, or leave a lock behind."""
    code = (
        "import os, signal, sys, threading, geograph_types.cli.root as root, geograph_types.data as data\n"
        "def hang(*_):\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except SystemExit:\n        threading.Event().wait()\n"
        "data.verify_splits, root._PATIENCE = hang, 1\n"
        f"sys.argv = ['geograph-types', 'verify', {str(store)!r}]\nroot.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 143 and "Give the same command again" in result.stderr


@pytest.mark.parametrize("stop, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_says_how_to_go_on_and_goes_on(store, tmp_path, stop, status, here):
    """`train && evaluate` must not evaluate half a run."""
    (tmp_path / "long.toml").write_text(TRAIN)
    train = [COMMAND, "train", store, tmp_path / "run", "--config", tmp_path / "long.toml"]
    process = subprocess.Popen([*map(str, train)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    history = tmp_path / "run" / "history.csv"
    while process.poll() is None and (not history.exists() or len(history.read_text().splitlines()) < 3):
        time.sleep(0.05)
    process.send_signal(stop)
    _, words = process.communicate(timeout=60)
    assert process.returncode == status, words
    assert "Give the same command again" in words and not (tmp_path / "run" / "model").exists()
    if stop == signal.SIGINT:  # going on is tried once
        return
    done = len(history.read_text().splitlines())
    _, words = here(*train[1:], "--epochs", done + 1)
    assert len(history.read_text().splitlines()) == done + 2
    assert str(tmp_path / "run" / "model") in words.replace("\n", "")
