# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .files import geograph_content as geograph_content
from .files import load_geograph_head as load_geograph_head
from .files import save_geograph_head as save_geograph_head
from .model import FeatureHead as FeatureHead
from .model import HEAD_INPUTS as HEAD_INPUTS
from .model import HEAD_TASKS as HEAD_TASKS
from .model import HeadNetwork as HeadNetwork
from .model import HeadTask as HeadTask
from .model import UNNAMED_DISTANCES as UNNAMED_DISTANCES
from .predictor import HeadPredictor as HeadPredictor
from .predictor import answers_of as answers_of
from .predictor import check_distances as check_distances
from .predictor import head_scores as head_scores
