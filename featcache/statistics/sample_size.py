"""How many images would settle it: the power of a comparison, from the disagreement that was seen."""

from __future__ import annotations

from scipy.stats import norm

POWER = 0.8
FAR = 100  # times as many images as there are: beyond that no number is said


def images_needed(difference: float, image_variance: float, seed_variance: float, images: int, critical: float) -> int:
    """How many images in all would show a difference in 80% of the cases, if it is as large as it was seen.

    `image_variance` is that of the difference over these `images`, which falls with their number; `seed_variance`, that
    of the seeds' luck, does not. `critical` is what a studentised difference must exceed. 0 where no number would do:
    no difference was seen, more than FAR times as many would be needed, or the seeds' luck alone is too large.
    """
    wanted = (difference / (critical + float(norm.ppf(POWER)))) ** 2 - seed_variance
    if wanted <= 0 or image_variance <= 0:
        return 0
    needed = image_variance * images / wanted
    return int(-(-needed // 1)) if needed <= FAR * images else 0
