"""What the best was chosen among, in words: runs, their recipes and their epochs."""

from __future__ import annotations

from featcache.statistics import Corrected


def chosen_among(corrected: Corrected, what: str) -> str:
    """What the best was chosen among: runs, their recipes and epochs, as far as these are known; "" where there was
    nothing to choose. `what` stands behind the number of runs, such as "runs" or "best of 200 runs"."""
    recipes, each = sum(r for r, _ in corrected.choices), {e for _, e in corrected.choices}
    epochs = f"{max(each)} epochs" if max(each) > 1 else ""
    if corrected.among == recipes == 1:
        return epochs
    of_each = f" of {epochs} each" if len(each) == 1 else f" of up to {epochs} each"
    some = what != "runs" and not what.startswith("of the ")
    runs = f"{'the ' if some else ''}{corrected.among} {what}" if corrected.among > 1 else ""
    tried = f"{recipes} recipes" if recipes > corrected.among else ""
    said = (", with " if some else " with ").join(part for part in (runs, tried) if part)
    if not epochs:
        return said
    clause = " that " in what  # "the 2 of 5 runs that .., of 3 epochs each"
    return f"{said},{of_each}" if clause and runs and not tried else f"{said}{of_each}"
