"""The five trainers, each with settings from a file in `configs`, on a small synthetic world."""

import functools
import os
import signal
from pathlib import Path

CONFIGS = {path.stem: path for path in sorted((Path(__file__).parent / "configs").iterdir())}


def types(folder, file, **options):
    """The type classifier on 2,000 rows."""
    from geograph_types.data import convert
    from geograph_types.store import EmbeddingStore
    from geograph_types.synthetic import write_sample
    from geograph_types.types import TrainingConfig, train

    store = folder.parent / "store"
    if not store.exists():
        convert(write_sample(folder.parent / "sample.jsonl", 2000), store, quiet=True)
    return train(EmbeddingStore.open(store), folder, TrainingConfig.read(file), quiet=True, **options)


@functools.cache
def context_world():
    """1,500 photographs with labels, and their split."""
    from geograph_types.splits import split_rows
    from geograph_types.synthetic import make_context_sample, random_labels

    data = make_context_sample(*random_labels(1500))
    return data, split_rows(data.gridimage_id, data.lat, data.lon)


def context(folder, file, **options):
    """A context head on 1,500 rows."""
    from geograph_types.context import ContextConfig, train_context

    return train_context(*context_world(), folder, ContextConfig.read(file), quiet=True, **options)


def retrieval(folder, file, **options):
    """A model of places on 1,200 photographs."""
    from geograph_types.retrieval import RetrievalConfig, train_retrieval
    from geograph_types.synthetic import make_located

    images = make_located(rows=1200, clip_dim=32, noise=0.5)
    return train_retrieval(images, folder, RetrievalConfig.read(file), quiet=True, **options)


def coordinates(folder, file, rows=1500, **options):
    """Coordinate heads on 1,500 vectors."""
    from geograph_types.coordinates import CoordinateConfig, train_coordinates
    from geograph_types.synthetic import make_world

    return train_coordinates(*make_world(rows), folder, CoordinateConfig.read(file), quiet=True, **options)


def pretraining(folder, file, **options):
    """A CLIP network on 64 drawn photographs with captions."""
    import pandas as pd

    from geograph_types.clip import clip_recipe
    from geograph_types.coordinates import PretrainConfig, pretrain
    from geograph_types.synthetic import KINDS, draw_photograph

    rows, pictures = [], folder.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for number in range(64):
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
                "split": "tra" if number < 48 else "val",
                "image_path": str(path),
            }
        )
    recipe = clip_recipe("ViT-S-32-alt", "random:1", image_size=64)
    return pretrain(pd.DataFrame(rows), folder, PretrainConfig.read(file), recipe, quiet=True, **options)


TRAINERS = {function.__name__: function for function in (types, context, retrieval, coordinates, pretraining)}


def train(name, folder, **options):
    """A run of one of them."""
    return TRAINERS[name](Path(folder), CONFIGS[name], accelerator="cpu", **options)


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
