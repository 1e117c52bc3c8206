"""How well cached features separate the classes, by several measures that train no head; no torch, no I/O."""

from featcache.separability.evidence import logme
from featcache.separability.measures import Separability, measure
from featcache.separability.neighbours import centroid_accuracy, knn_accuracy, silhouette
from featcache.separability.probe import linear_probe
from featcache.separability.spectrum import effective_rank, fisher_ratio, h_score

__all__ = [
    "Separability",
    "centroid_accuracy",
    "effective_rank",
    "fisher_ratio",
    "h_score",
    "knn_accuracy",
    "linear_probe",
    "logme",
    "measure",
    "silhouette",
]
