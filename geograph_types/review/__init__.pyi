# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .queue import QUEUE_COLUMNS as QUEUE_COLUMNS
from .queue import REASONS as REASONS
from .queue import ReviewQueue as ReviewQueue
from .queue import SHARES as SHARES
from .queue import draw_random as draw_random
from .queue import mix_reasons as mix_reasons
from .queue import pages_by_contributor as pages_by_contributor
