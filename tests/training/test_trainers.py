"""Every trainer, from a file of settings: a run that is killed and taken up ends as one that nobody disturbed."""

import json
import signal

import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")
pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")

from processes import PROCESSES
from trainers import CONFIGS, TRAINERS, grid, grid_and_die, train, train_and_die


def in_a_process(function, *arguments):
    """The exit code of a function in a process of its own."""
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join(300)
    return process.exitcode


def test_every_trainer_has_a_file_of_settings():
    assert CONFIGS.keys() == TRAINERS.keys()


SLOW = pytest.param("pretraining", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*(name for name in TRAINERS if name != "pretraining"), SLOW])
def test_killed_and_taken_up_a_run_ends_as_if_undisturbed(name, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert in_a_process(train, name, whole) == 0
    assert in_a_process(train_and_die, name, killed) == -signal.SIGKILL
    assert len((killed / "history.csv").read_text().splitlines()) == 4 and not (killed / "model").exists()
    assert in_a_process(train, name, killed) == 0
    for file in (
        "history.csv",
        "config.json",
        "model/config.json",
        "model/model.safetensors",
        "model/README.md",
    ):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    notes = json.loads((whole / "model/config.json").read_text())["training"]
    judged, card = notes.pop("evaluation"), (whole / "model/README.md").read_text()
    if name == "pretraining":  # a network is judged by what is trained on it
        assert judged is None and "Not measured" in card
    else:
        part = "validation" if name == "retrieval" else "test"  # which looks among places of its own rows
        assert f"{part} photographs" in judged["of"] and judged["of"] in card
        assert judged["scores"] or len(judged["table"]) > 1
        assert all(f"- {line}" in card.replace("\\", "") for line in judged["distrust"])
        assert "nan" not in card
    assert (
        notes == json.loads((whole / "config.json").read_text())
        and notes["data"]["train"] > notes["data"]["validation"] > 0
    )


def test_a_grid_that_is_killed_goes_on(tmp_path):
    for folder, function, end in (("whole", grid, 0), ("killed", grid_and_die, -9), ("killed", grid, 0)):
        assert in_a_process(function, tmp_path / folder) == end
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    files = [path.relative_to(whole) for path in whole.rglob("*.*") if "tensorboard" not in path.parts]
    assert sum(file.name == "model.safetensors" for file in files) == 2
    for file in files:
        if file.suffix != ".ckpt":  # what Lightning notes of the time
            assert (killed / file).read_bytes() == (whole / file).read_bytes(), file


def test_two_trainings_in_one_folder_do_not_mix(tmp_path):
    from geograph_types.errors import JobError
    from geograph_types.jobs import locked

    with locked(tmp_path / "run"), pytest.raises(JobError, match="is being written by another process"):
        train("coordinates", tmp_path / "run")
    assert not (tmp_path / "run").exists()
