"""Stage two: heads trained on cached features, and what comes out of them."""

from heads.experiment import train_model, trainModel
from heads.tuned_heads import tune_model

__all__ = ["trainModel", "train_model", "tune_model"]
