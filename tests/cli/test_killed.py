"""Every command that writes: killed with SIGKILL and given again it ends as undisturbed; of two at once one is refused."""

import signal

import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from commands import COMMANDS, NEEDS, STEPS, die, line_of, make_world, run
from processes import PROCESSES

from geograph_types.jobs import locked


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    assert run(line_of("locate calibrate", folder), folder)[0] == 0
    (folder / "out.json").rename(folder / "check.json")
    return folder


@pytest.fixture(autouse=True)
def needs_the_extra(request):
    name = request.node.callspec.params["name"]
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])


def content(folder):
    aside = ("tensorboard", "checkpoints")  # which name times and folders
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name not in aside)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def dies(words, folder, moment):
    """Whether it was killed before its end."""
    process = PROCESSES.Process(target=die, args=(words, str(folder), moment))
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), f"{words} ended with {process.exitcode}"
    return process.exitcode != 0


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_and_given_again_it_ends_as_undisturbed(name, world, tmp_path):
    words, folders = line_of(name, world), [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    assert run(words, folders[0]) == (0, "")
    words += ["--overwrite"] if name != "demo" else []
    for moment in (1, 2, 3, 6) if any(step in name for step in STEPS) else (1, 2):
        if not dies(words, folders[1], moment):  # it was all but finished
            break
    assert moment > 1
    assert run(words, folders[1]) == (0, "")
    whole, again = map(content, folders)
    assert whole.keys() == again.keys() and len(whole)
    assert [file for file in whole if whole[file] != again[file]] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_another_process_makes_is_left_alone(name, world, tmp_path):
    words = line_of(name, world)
    out = next(tmp_path / word for word in words if word.startswith("out"))
    if name == "context prepare":
        out = out / "labels.parquet"
    with locked(out):
        before = sorted(tmp_path.rglob("*"))
        status, said = run(words, tmp_path)
        assert status == 1 and "is being written by another process" in said, said
        assert sorted(tmp_path.rglob("*")) == before
