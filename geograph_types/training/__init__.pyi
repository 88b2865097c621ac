# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .batches import BatchData as BatchData
from .batches import BatchDataset as BatchDataset
from .batches import BatchSampler as BatchSampler
from .batches import fitting_batch_size as fitting_batch_size
from .config import RunConfig as RunConfig
from .config import read_settings as read_settings
from .config import yaml_value as yaml_value
from .dropout import Dropout as Dropout
from .losses import asymmetric_bce as asymmetric_bce
from .losses import mix_features as mix_features
from .losses import weighted_bce as weighted_bce
from .run import History as History
from .run import Run as Run
from .run import TrainingTask as TrainingTask
from .run import WholeCheckpoints as WholeCheckpoints
from .run import adamw_cosine as adamw_cosine
from .run import by_first_process as by_first_process
from .run import claim_folder as claim_folder
from .run import fit as fit
from .run import run_training as run_training
from .run import weights_checksum as weights_checksum
import geograph_types.types.training as _types_training

train = _types_training.train
TrainingConfig = _types_training.TrainingConfig
TrainingRun = _types_training.TrainingRun
