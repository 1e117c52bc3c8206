"""How many images would settle it: the power of a comparison, from the disagreement that was seen."""

from __future__ import annotations

import math

from scipy.stats import norm

POWER = 0.8
ROUNDING = 1e-15  # a variance of a difference that is rounding: a single image of 10 million has 1e-14
FAR = 100  # times as many images as there are: beyond that no number is said


def images_needed(
    difference: float, image_variance: float, seed_variance: float, images: int, critical: float, fewest: float = 1
) -> int:
    """How many images in all would show a difference in 80% of the cases, if it is as large as it was seen.

    `image_variance` is that of the difference over these `images`, which falls with their number; `seed_variance`, that
    of the seeds' luck, does not. `critical` is what a studentised difference must exceed, and `fewest` how many
    there must be before any can (`fewest_that_tell`). Where every image told the same there is no variance, and so
    many are enough that none against them tells (Tango 1998). 0 where no number would do: no difference was seen, more
    than FAR times as many would be needed, or the seeds' luck alone is too large.
    """
    reach = critical + float(norm.ppf(POWER))
    wanted = (difference / reach) ** 2 - seed_variance
    if wanted <= 0:
        return 0
    if image_variance > ROUNDING:
        needed = image_variance * images / wanted
    else:
        needed = critical**2 * (1 / (reach * math.sqrt(wanted)) - 1)
    return math.ceil(max(needed, fewest)) if needed <= FAR * images else 0


def fewest_that_tell(tail: float) -> int:
    """How many images there must be before any difference is as rare as `tail` (of one side) by flipping signs: if all
    tell the same way, n do so by luck in 1 of 2^n cases (McNemar 1947: 6 for a pair at 95%)."""
    return math.ceil(-math.log2(tail))
