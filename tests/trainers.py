"""Every trainer, each with settings from a file in `configs`, on a small synthetic world."""

import functools
import os
import signal
from pathlib import Path

CONFIGS = {path.stem: path for path in sorted((Path(__file__).parent / "configs").iterdir())}


def types(folder, file, **options):
    """The type classifier on 600 rows."""
    from geograph_types.data import convert
    from geograph_types.store import EmbeddingStore
    from geograph_types.synthetic import write_sample
    from geograph_types.types import TrainingConfig, train

    store = folder.parent / "store"
    if not store.exists():
        convert(write_sample(folder.parent / "sample.jsonl", 600), store, quiet=True)
    return train(EmbeddingStore.open(store), folder, TrainingConfig.read(file), quiet=True, **options)


@functools.cache
def context_world():
    """600 photographs with labels, and their split."""
    from geograph_types.splits import split_rows
    from geograph_types.synthetic import make_context_sample, random_labels

    data = make_context_sample(*random_labels(600))
    return data, split_rows(data.gridimage_id, data.lat, data.lon)


def context(folder, file, **options):
    """A context head on 600 rows."""
    from geograph_types.context import ContextConfig, train_context

    return train_context(*context_world(), folder, ContextConfig.read(file), quiet=True, **options)


def retrieval(folder, file, **options):
    """A model of places on 600 photographs."""
    from geograph_types.retrieval import RetrievalConfig, train_retrieval
    from geograph_types.synthetic import make_located

    images = make_located(rows=600, clip_dim=32, noise=0.5)
    return train_retrieval(images, folder, RetrievalConfig.read(file), quiet=True, **options)


def coordinates(folder, file, rows=600, **options):
    """Coordinate heads on 600 vectors."""
    from geograph_types.coordinates import CoordinateConfig, train_coordinates
    from geograph_types.synthetic import make_world

    return train_coordinates(*make_world(rows), folder, CoordinateConfig.read(file), quiet=True, **options)


def pretraining(folder, file, **options):
    """A CLIP network on 32 drawn photographs with captions."""
    import pandas as pd

    from geograph_types.clip import clip_recipe
    from geograph_types.coordinates import PretrainConfig, pretrain
    from geograph_types.synthetic import KINDS, draw_photograph

    rows, pictures = [], folder.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for number in range(32):
        kind, path = list(KINDS)[number % 4], pictures / f"{number}.png"
        if not path.exists():
            draw_photograph(kind, number, (80, 60)).save(path)
        rows.append(
            {
                "id": str(number),
                "lat": 50.0 + number % 4,
                "lon": -1.0,
                "climate": 15,
                "month": 0,
                "state": "Drawn_XX",
                "county": f"{kind}_Drawn_XX",
                "city": None,
                "split": "tra" if number < 24 else "val",
                "image_path": str(path),
            }
        )
    recipe = clip_recipe("ViT-S-32-alt", "random:1", image_size=64)
    return pretrain(pd.DataFrame(rows), folder, PretrainConfig.read(file), recipe, quiet=True, **options)


def head(folder, file, **options):
    """One of Geograph's heads on 300 rows of downloads."""
    from geograph_types.heads import HeadConfig, train_head
    from geograph_types.platform import read_download
    from geograph_types.store import EmbeddingStore
    from geograph_types.synthetic import make_platform, write_downloads

    store = folder.parent / "downloads"
    if not store.exists():
        paths = write_downloads(folder.parent / "files", make_platform(300, seed=1))
        read_download(list(paths.values()), store, quiet=True)
    return train_head(EmbeddingStore.open(store), folder, HeadConfig.read(file), quiet=True, **options)


TRAINERS = {function.__name__: function for function in (types, context, retrieval, coordinates, pretraining)}
TRAINERS |= dict.fromkeys(("subject", "assess", "gallery", "scenic"), head)


def train(name, folder, **options):
    """A run of one of them."""
    return TRAINERS[name](Path(folder), CONFIGS[name], accelerator="cpu", **options)


def grid(folder):
    """Two heads of the grid of context heads."""
    from geograph_types.context import run_grid

    kinds = {"heads": ["linear"], "modality_sets": [("img",), ("loc",)], "mixups": [False]}
    run_grid(*context_world(), folder, **kinds, quiet=True, epochs=2)


def grid_and_die(folder):
    """The same, killed in the second head's first epoch."""
    from geograph_types.training import History

    at_epoch_end, ends = History.on_train_epoch_end, iter(range(100))

    def die(history, *arguments):
        at_epoch_end(history, *arguments)
        if next(ends) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    History.on_train_epoch_end = die
    grid(folder)


def train_and_die(name, folder, epochs=2):
    """A run that is killed when it has noted one epoch more than these, and not yet kept its weights."""
    from geograph_types.training import History

    at_epoch_end = History.on_train_epoch_end

    def die(history, *arguments):
        at_epoch_end(history, *arguments)
        if len(history.rows) > epochs:
            os.kill(os.getpid(), signal.SIGKILL)

    History.on_train_epoch_end = die
    train(name, folder)
