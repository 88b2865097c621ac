# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .root import main as main
from .types import app as app
