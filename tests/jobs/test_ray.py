"""A local Ray of two workers makes the same files that one machine makes, even if a worker is killed."""

import io
import os
import signal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'geograph_types[distributed]'")
pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")

from geograph_types.clip import (
    clip_recipe,
    embed_images,
    embed_images_ray,
)
from geograph_types.data import convert
from geograph_types.jobs import (
    ray_map,
    thread_map,
)
from geograph_types.model import GeographModel
from geograph_types.synthetic import write_sample
from geograph_types.types import (
    TypePredictor,
    predict_file,
    predict_ray,
)

pytestmark = pytest.mark.slow  # a cluster and its workers are processes of their own
SMALL = clip_recipe("ViT-S-32-alt", "random:1")  # a small network that knows nothing
SETTINGS = dict(recipe=SMALL, batch_size=8, shard_size=24, quiet=True)


@pytest.fixture(scope="module", autouse=True)
def two_workers():
    os.environ.setdefault("RAY_worker_niceness", "0")  # or its workers would be served last
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A table of 60 synthetic photographs with titles, every ninth of which is broken in a way of its own, or missing."""
    folder, dice = tmp_path_factory.mktemp("photographs"), np.random.default_rng(1)
    for number in range(60):
        coarse = Image.fromarray(dice.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((160, 120), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    narrow = io.BytesIO()
    Image.new("RGB", (2, 900)).save(narrow, "JPEG")
    half = (folder / "1.jpg").read_bytes()[:900]
    broken = [b"\xff\xd8 nothing more", b"", b"<html>", half, narrow.getvalue(), b"GIF89a", None]
    for number, data in zip(range(0, 60, 9), broken):
        path = folder / f"{number}.jpg"
        path.unlink() if data is None else path.write_bytes(data)
    table = pd.DataFrame(
        {
            "path": [f"{number}.jpg" for number in range(60)],
            "gridimage_id": range(1000, 1060),
            "title": [f"Photograph {number}" for number in range(60)],
        }
    )
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def one_machine(photographs):
    embed_images(photographs, photographs.parent / "store", **SETTINGS)
    return photographs.parent / "store"


def content(store):
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


class KillOne:
    """Hands the items on, and kills one of the processes that embed after the second."""

    def __init__(self):
        self.killed = []

    def __call__(self, function, items):
        def watched():
            for count, result in enumerate(ray_map(function, items, workers=2)):
                if count == 1:
                    self.kill()
                yield result

        return watched()

    def kill(self):
        for folder in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{folder}/cmdline") as file:
                    name = file.read()
            except OSError:
                continue
            if name.startswith("ray::") and "MapWorker" in name and not self.killed:
                os.kill(int(folder), signal.SIGKILL)
                self.killed.append(name)


@pytest.mark.skipif(not os.path.exists("/proc"), reason="finds the worker through Linux's /proc")
def test_a_worker_killed_while_embedding_changes_nothing(photographs, one_machine, tmp_path):
    kill_one = KillOne()
    embed_images(photographs, tmp_path / "store", mapper=kill_one, **SETTINGS)
    assert kill_one.killed
    assert content(tmp_path / "store") == content(one_machine)


def test_a_run_begun_on_one_machine_is_finished_on_the_cluster(photographs, one_machine, tmp_path):
    def first_four_windows(function, items):
        for count, result in enumerate(thread_map(function, items)):
            if count == 4:
                raise RuntimeError("the lights went out")
            yield result

    with pytest.raises(RuntimeError, match="lights"):
        embed_images(photographs, tmp_path / "store", mapper=first_four_windows, **SETTINGS)
    summary = embed_images_ray(photographs, tmp_path / "store", workers=1, **SETTINGS)
    assert (summary.rows, sum(summary.rejects.values())) == (53, 7)
    assert content(tmp_path / "store") == content(one_machine)


@pytest.mark.parametrize("source", ["file", "store"])
def test_predictions_are_the_same(source, tmp_path):
    sample = write_sample(tmp_path / "sample.jsonl", 9000)
    if source == "store":
        convert(sample, tmp_path / "sample", quiet=True)
        sample = tmp_path / "sample"
    predictor = TypePredictor(GeographModel())
    predict_file(sample, tmp_path / "one.jsonl", predictor, quiet=True)
    predict_ray(sample, tmp_path / "cluster.jsonl", predictor, quiet=True)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "cluster.jsonl").read_bytes()


def test_labels_are_counted_on_the_cluster(tmp_path):
    pytest.importorskip("ahocorasick_rs", reason="needs the extra geo: pip install 'geograph_types[geo]'")
    from geograph_types.zeroshot import count_labels

    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("Niger\nNigeria, and Niger\nnigerian\n" * (number + 1))
    files = sorted(tmp_path.glob("*.txt"))
    tables = [
        count_labels(files, ["Niger", "Nigeria"], tmp_path / engine, workers=1, engine=engine, quiet=True)
        for engine in ("local", "ray")
    ]
    pd.testing.assert_frame_equal(*tables)
    assert tables[1]["count"].tolist() == [12, 6]
