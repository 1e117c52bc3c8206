"""What more training images would buy: heads on growing shares of them, on cached features."""

from heads.learning_curves.curve_files import SavedCurves, load_curves, write_curves
from heads.learning_curves.curve_study import CurveStudy, Measured, learning_curves, measure_curve, study_of
from heads.learning_curves.learning_curve import Estimate, LearningCurve, Point
from heads.learning_curves.power_law import PowerLaw, fit_power_law
from heads.learning_curves.same_images import require_same_images
from heads.learning_curves.training_subsets import DRAWS

__all__ = [
    "DRAWS",
    "CurveStudy",
    "Estimate",
    "LearningCurve",
    "Measured",
    "Point",
    "PowerLaw",
    "SavedCurves",
    "fit_power_law",
    "learning_curves",
    "load_curves",
    "measure_curve",
    "require_same_images",
    "study_of",
    "write_curves",
]
