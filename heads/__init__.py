"""Stage two: heads trained on cached features, and what comes out of them."""

from heads.experiment import train_model, trainModel

__all__ = ["trainModel", "train_model"]
