"""Use of what won: a finished run's model on any images, how sure it is, and what it has not seen the like of."""

from heads.predict.asked_images import AskedImage, asked_images
from heads.predict.labelling_order import DOUBTS, most_worth_labelling
from heads.predict.prediction_files import FORMATS, Write, format_of, prediction_file, row_values, text_writer
from heads.predict.prediction_rows import PredictionRow, row_of
from heads.predict.predictor import Prediction, Predictor, PreparedImage
from heads.predict.run_predictor import load_predictor
from heads.predict.sorted_copies import SortedCopies
from heads.predict.space_of_run import training_images
from heads.predict.training_space import TrainingSpace

__all__ = [
    "DOUBTS",
    "FORMATS",
    "AskedImage",
    "Prediction",
    "PredictionRow",
    "Predictor",
    "PreparedImage",
    "SortedCopies",
    "TrainingSpace",
    "Write",
    "asked_images",
    "format_of",
    "load_predictor",
    "most_worth_labelling",
    "prediction_file",
    "row_of",
    "row_values",
    "text_writer",
    "training_images",
]
