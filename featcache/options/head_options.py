"""The section `head`: what is done to the features in front of the head."""

from __future__ import annotations

from typing import Literal

from featcache.options.option_types import Section

Normalise = Literal["none", "standard", "l2", "layernorm", "scale"]


class HeadOptions(Section):
    """What the head is given; its widths and dropout are `model.classifier_dims` and `model.dropout`."""

    normalise: Normalise = "none"
    """What is done to features in front of the head. standard: each less its mean, over its standard deviation; scale:
    all over their root mean square (both of the training images, views included, and folded into the head's first
    layer). l2: each image's over their root mean square; layernorm: the same after their mean is taken off."""
