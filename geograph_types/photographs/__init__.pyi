# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .duplicates import near_duplicates as near_duplicates
from .duplicates import similar_photographs as similar_photographs
from .images import FORMATS as FORMATS
from .images import ImageError as ImageError
from .images import REASONS as REASONS
from .images import decode_image as decode_image
from .images import exif_position as exif_position
from .sources import LARGEST_FILE as LARGEST_FILE
from .sources import PHOTOGRAPH_SUFFIXES as PHOTOGRAPH_SUFFIXES
from .sources import Photograph as Photograph
from .sources import geograph_id as geograph_id
from .sources import open_source as open_source
from .sources import survey_source as survey_source
from .web import PoliteFetcher as PoliteFetcher
