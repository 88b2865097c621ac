"""Processes for tests of kills: forks of one that has the package and what it needs loaded, so that each is cheap."""

import multiprocessing

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *("pandas", "pyarrow.parquet", "scipy.stats", "torchmetrics", "open_clip", "matplotlib.pyplot"),
        *(
            f"geograph_types.{name}"
            for name in (
                *("checkpoints", "clip.embedding", "cli.root", "context.training", "coordinates.pretraining"),
                *("coordinates.training", "data", "evaluation.report", "heads.training", "models"),
                *("photographs.duplicates", "platform.downloads", "platform.labelling", "platform.training"),
                *("platform.worker", "retrieval.plausibility", "retrieval.training", "review.ranking"),
                *(
                    "synthetic.sample",
                    "training.run",
                    "types.training",
                    "zeroshot.captions",
                    "zeroshot.files",
                ),
            )
        ),
    ]
)
