# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .cluster import connected_ray as connected_ray
from .cluster import ray_map as ray_map
from .fingerprints import fingerprint as fingerprint
from .fingerprints import refuse_other as refuse_other
from .journals import Journal as Journal
from .journals import pool as pool
from .journals import remove_journal as remove_journal
from .journals import run_pieces as run_pieces
from .locks import locked as locked
from .progress import Item as Item
from .progress import hush as hush
from .progress import tracked as tracked
from .progress import tracking as tracking
from .progress import watched as watched
from .threads import processors as processors
from .threads import thread_map as thread_map
