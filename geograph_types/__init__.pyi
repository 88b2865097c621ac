# Made by .ci/stubs.py from the modules' __all__. Do not edit.
from .context.model import ContextHead as ContextHead
from .context.predictor import ContextPredictor as ContextPredictor
from .coordinates.predictor import CoordinatePredictor as CoordinatePredictor
from .data import convert as convert
from .models import open_model as open_model
from .retrieval.retriever import GeoRetriever as GeoRetriever
from .store.folder import EmbeddingStore as EmbeddingStore
from .types.predictor import TypePredictor as TypePredictor
__version__: str
