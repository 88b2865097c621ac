# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .files import predict_file as predict_file
from .files import predict_ray as predict_ray
from .predictor import TypePredictor as TypePredictor
from .predictor import decide as decide
from .predictor import geograph_tags as geograph_tags
from .predictor import reference_distance as reference_distance
from .predictor import said_references as said_references
from .predictor import to_buckets as to_buckets
from .training import CORRUPTIONS as CORRUPTIONS
from .training import Corruption as Corruption
from .training import TrainingConfig as TrainingConfig
from .training import TypeTask as TypeTask
from .training import calibrate as calibrate
from .training import corrupt_distance as corrupt_distance
from .training import store_logits as store_logits
from .training import train as train
from .training import type_data as type_data
