"""Heads trained on cached features: specifications in, weights and curves out; many at once, or one."""

from heads.training.bootstrap import interval, resampled_means, summarise
from heads.training.features import Features, load_features
from heads.training.head_spec import HeadSpec, run_heads
from heads.training.head_stack import initial_state
from heads.training.metrics import TOP_K, ImageOutcomes, confusion, in_top_k, outcome, per_class
from heads.training.optimisers import torch_optimiser
from heads.training.random_draws import Draws, scale, threshold
from heads.training.schedulers import rate_factor
from heads.training.stacked_training import train_heads
from heads.training.trained_head import EpochRow, TrainedHead, score

__all__ = [
    "TOP_K",
    "Draws",
    "EpochRow",
    "Features",
    "HeadSpec",
    "ImageOutcomes",
    "TrainedHead",
    "confusion",
    "in_top_k",
    "initial_state",
    "interval",
    "load_features",
    "outcome",
    "per_class",
    "rate_factor",
    "resampled_means",
    "run_heads",
    "scale",
    "score",
    "summarise",
    "threshold",
    "torch_optimiser",
    "train_heads",
]
