"""The tables of `bin/bench phase2`: a row for each recipe, a column for each data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from intervals import interval

USERS = "phase2"  # the recipe that the others are compared with


@dataclass(frozen=True)
class Outcome:
    """What one recipe came to with one network on one split of a data set."""

    data: str
    backbone: str
    weights: str
    recipe: str
    seed: int
    val_top1: float
    test_top1: float
    best_epoch: int
    seconds: float


def tables(found: Sequence[Outcome]) -> Iterator[str]:
    """Of each network: test top-1, the lead over the user's recipe split by split, and seconds of a run."""
    for backbone, weights in dict.fromkeys((o.backbone, o.weights) for o in found):
        own = [o for o in found if o.backbone == backbone]
        title = f"{backbone}, {weights} weights"
        yield _table(f"{title}: test top-1", own, lambda one, _: interval([o.test_top1 for o in one], ".3f"))
        yield _table(f"{title}: test top-1, less that of {USERS}.json", own, _lead)
        yield _table(f"{title}: seconds of a run", own, lambda one, _: f"{median(o.seconds for o in one):.0f}")


def _table(title: str, found: Sequence[Outcome], cell: Callable[[list[Outcome], list[Outcome]], str]) -> str:
    sets, recipes = (list(dict.fromkeys(getattr(o, key) for o in found)) for key in ("data", "recipe"))
    lines = [f"{title}\n", f"| | {' | '.join(sets)} |", f"|---|{'--:|' * len(sets)}"]
    for recipe in recipes:
        of = [[o for o in found if (o.data, o.recipe) == (data, recipe)] for data in sets]
        users = [[o for o in found if (o.data, o.recipe) == (data, USERS)] for data in sets]
        cells = [cell(one, other) if one else "" for one, other in zip(of, users, strict=True)]
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _lead(one: list[Outcome], users: list[Outcome]) -> str:
    of_seed = {o.seed: o.test_top1 for o in users}
    pairs = [o.test_top1 - of_seed[o.seed] for o in one if o.seed in of_seed]
    return interval(pairs, "+.3f") if pairs and one[0].recipe != USERS else ""
