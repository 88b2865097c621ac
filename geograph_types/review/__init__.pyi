# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .answers import Answer as Answer
from .answers import AnswerFile as AnswerFile
from .answers import DECISIONS as DECISIONS
from .answers import Session as Session
from .answers import agreement as agreement
from .answers import joined as joined
from .answers import krippendorff_alpha as krippendorff_alpha
from .answers import split_labels as split_labels
from .queue import QUEUE_COLUMNS as QUEUE_COLUMNS
from .queue import REASONS as REASONS
from .queue import ReviewQueue as ReviewQueue
from .queue import SHARES as SHARES
from .queue import draw_random as draw_random
from .queue import mix_reasons as mix_reasons
from .queue import pages_by_contributor as pages_by_contributor
