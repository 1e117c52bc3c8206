"""Finished runs side by side: which backbones are redundant, which two complement each other, what all get wrong."""

from heads.redundancy.backbone_comparison import BackboneComparison, compare_backbones
from heads.redundancy.common_errors import CommonError, CommonErrors, ConfusedClasses
from heads.redundancy.feature_alignment import REDUNDANT, Alignment
from heads.redundancy.paired_errors import PairedErrors

__all__ = [
    "REDUNDANT",
    "Alignment",
    "BackboneComparison",
    "CommonError",
    "CommonErrors",
    "ConfusedClasses",
    "PairedErrors",
    "compare_backbones",
]
