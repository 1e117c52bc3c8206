"""How well cached features separate the classes, by several measures that train no head."""

from featcache.separability.alignment import FEWEST_ALIGNED, linear_cka, unit_gram
from featcache.separability.class_overlap import gbc
from featcache.separability.grouping import Ints, deal
from featcache.separability.intrinsic_dimension import intrinsic_dimension
from featcache.separability.log_evidence import logme
from featcache.separability.measures import LabelledFeatures, Measure, measure, measures
from featcache.separability.measuring_time import measuring_seconds
from featcache.separability.nearest_neighbours import centroid_accuracy, knn_accuracy, silhouette
from featcache.separability.nested_logistic import LogisticProbe, logistic_probe, probe_logistic
from featcache.separability.pair_agreement import parc
from featcache.separability.remembered import Answered, Separation, measure_separability
from featcache.separability.ridge_probe import linear_probe
from featcache.separability.spectrum import effective_rank, fisher_ratio, h_score

__all__ = [
    "FEWEST_ALIGNED",
    "Answered",
    "Ints",
    "LabelledFeatures",
    "LogisticProbe",
    "Measure",
    "Separation",
    "centroid_accuracy",
    "deal",
    "effective_rank",
    "fisher_ratio",
    "gbc",
    "h_score",
    "intrinsic_dimension",
    "knn_accuracy",
    "linear_cka",
    "linear_probe",
    "logistic_probe",
    "logme",
    "measure",
    "measure_separability",
    "measures",
    "measuring_seconds",
    "parc",
    "probe_logistic",
    "silhouette",
    "unit_gram",
]
