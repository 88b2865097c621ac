# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .api import ApiHead as ApiHead
from .api import SUBJECTS_GIVEN as SUBJECTS_GIVEN
from .api import TAG_RULES as TAG_RULES
from .api import number_rows as number_rows
from .api import subject_rows as subject_rows
from .api import tag_rows as tag_rows
