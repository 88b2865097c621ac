"""Every command that writes: killed with SIGKILL and given again it ends as undisturbed; of two at once one is refused."""

import re
import signal

import pytest
import typer

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from commands import COMMANDS, NEEDS, STEPS, die, line_of, make_world, run
from processes import PROCESSES

from geograph_types.cli.root import app
from geograph_types.jobs import locked

NO_ROWS = ("sample", "export", "demo", "locate words")  # what reads none prints no sum


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    assert run(line_of("locate calibrate", folder), folder)[0] == 0
    (folder / "out.json").rename(folder / "check.json")
    return folder


@pytest.fixture(autouse=True)
def needs_the_extra(request):
    callspec = getattr(request.node, "callspec", None)
    if callspec and (name := callspec.params["name"]) in NEEDS:
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
def test_killed_and_given_again_it_ends_as_undisturbed(name, world, tmp_path, capsys):
    words, folders = line_of(name, world), [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    assert run(words, folders[0]) == (0, "")
    assert name in NO_ROWS or re.search(r"\d \w+ in: [\d,]+ used, [\d,]+ rejected", capsys.readouterr().err)
    words += ["--overwrite"] if name != "demo" else []
    for moment in (1, 2, 3, 6) if any(step in name for step in STEPS) else (1, 2):
        if not dies(words, folders[1], moment):  # it was all but finished
            break
        assert name != "context pictures" or not (folders[1] / "out").exists()  # whole or not there
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


OTHERS = {  # what has no `--out`, killed in tests of its own -> its line, and what it makes
    "train": ("train {0}/store out --epochs 1", "out"),
    "context train": ("context train {0}/prepared {0}/store out --modalities img --epochs 1", "out"),
    "locate train": ("locate train {0}/store out --epochs 1", "out"),
    "coordinates train": (
        "coordinates train {0}/table.csv out --store {0}/store --target sphere --no-context --epochs 1",
        "out",
    ),
    "coordinates pretrain": (
        "coordinates pretrain {0}/pictured.csv out --clip ViT-S-32-alt --pretrained random:1 --image-size 64",
        "out",
    ),
    "download": ("download . --paths {0}/rows.jsonl", "photographs"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_that_another_process_fills_is_left_alone(name, world, tmp_path):
    line, out = OTHERS[name]
    with locked(tmp_path / out):
        before = sorted(tmp_path.rglob("*"))
        status, said = run(line.format(world).split(), tmp_path)
        assert status == 1 and "is being written by another process" in said, said
        assert sorted(tmp_path.rglob("*")) == before


def commands_of(program, path=""):
    command = typer.main.get_command(program) if isinstance(program, typer.Typer) else program
    if not hasattr(command, "commands"):
        return [path]
    return [
        found
        for name, one in command.commands.items()
        for found in commands_of(one, f"{path} {name}".strip())
    ]


def test_every_command_that_writes_is_here():
    """Or in a test of its own: an app that is served, answers that are added, an outbox, the dataset."""
    elsewhere = {"verify", "label", "review serve", "review import"}
    named = {" ".join(words.partition(" OUT")[0].split()[:2]) for words in COMMANDS.values()}
    named |= {words.split()[0] for words in COMMANDS.values()} | OTHERS.keys() | elsewhere
    assert [name for name in commands_of(app) if name not in named] == []
