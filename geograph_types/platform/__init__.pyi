# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .api import ApiHead as ApiHead
from .api import SUBJECTS_GIVEN as SUBJECTS_GIVEN
from .api import TAG_RULES as TAG_RULES
from .api import number_rows as number_rows
from .api import subject_rows as subject_rows
from .api import tag_rows as tag_rows
from .downloads import RowFolder as RowFolder
from .downloads import TAG_SEPARATOR as TAG_SEPARATOR
from .downloads import merge_rows as merge_rows
from .downloads import read_download as read_download
from .rows import DOWNLOAD_SIGNS as DOWNLOAD_SIGNS
from .rows import DownloadReader as DownloadReader
from .rows import NUMBER_COLUMNS as NUMBER_COLUMNS
from .rows import TEXT_COLUMNS as TEXT_COLUMNS
from .rows import download_schema as download_schema
from .rows import is_download as is_download
