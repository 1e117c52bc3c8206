"""Heads trained on cached features: specifications in, weights and curves out; many at once, or one."""

from heads.training.class_weights import class_weights
from heads.training.curve_end import still_improving
from heads.training.epoch_outcomes import EpochOutcomes
from heads.training.feature_fit import Fit
from heads.training.features import Features, Fold, Rows, load_features
from heads.training.figure_summary import figure_limits, no_narrower, summarise
from heads.training.head_spec import HeadSpec, run_heads
from heads.training.head_stack import initial_state
from heads.training.logit_outcomes import outcomes_of_logits
from heads.training.loss_weights import training_weights, weight_scales
from heads.training.metrics import (
    METRICS,
    TOP_K,
    ImageOutcomes,
    Metric,
    confusion,
    find_metric,
    in_top_k,
    metrics,
    outcome,
    per_class,
)
from heads.training.normalisation import FITTED, features_rms, fit_features
from heads.training.optimisers import torch_optimiser
from heads.training.random_draws import Draws, scale, threshold
from heads.training.recipes import Recipe, Score, recipe_score, recipes_of
from heads.training.schedulers import rate_factor
from heads.training.soft_targets import SoftTargets, soft_loss
from heads.training.split_metric_parts import ANSWERED, PARTS
from heads.training.stacked_training import train_heads
from heads.training.trained_head import START, EpochRow, TrainedHead, best_epoch_said, epoch_row, score

__all__ = [
    "ANSWERED",
    "FITTED",
    "METRICS",
    "PARTS",
    "START",
    "TOP_K",
    "Draws",
    "EpochOutcomes",
    "EpochRow",
    "Features",
    "Fit",
    "Fold",
    "HeadSpec",
    "ImageOutcomes",
    "Metric",
    "Recipe",
    "Rows",
    "Score",
    "SoftTargets",
    "TrainedHead",
    "best_epoch_said",
    "class_weights",
    "confusion",
    "epoch_row",
    "features_rms",
    "figure_limits",
    "find_metric",
    "fit_features",
    "in_top_k",
    "initial_state",
    "load_features",
    "metrics",
    "no_narrower",
    "outcome",
    "outcomes_of_logits",
    "per_class",
    "rate_factor",
    "recipe_score",
    "recipes_of",
    "run_heads",
    "scale",
    "score",
    "soft_loss",
    "still_improving",
    "summarise",
    "threshold",
    "torch_optimiser",
    "train_heads",
    "training_weights",
    "weight_scales",
]
