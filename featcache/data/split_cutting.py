"""Images in, the same with val and test cut from train by content hash out, where the folder has no such split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from featcache.counted_nouns import counted
from featcache.data.few_groups import remedy_of_few
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import SPLITS, ImageRecord, Split, digest
from featcache.relatives import family_names, has_groups, relatives

MOST = 0.5  # of a class's images in one family: such a one stays in train, lest the class be learned from the rest


def cut_missing_splits(
    images: list[ImageRecord], present: Collection[Split], classes: tuple[str, ...], options: DataOptions
) -> tuple[list[ImageRecord], list[str]]:
    """`images` with val and test cut from train where the folder has neither among `present`, and notices of it.

    Each family (copies of one content, a group) goes where its name's hash says, so adding images moves none and
    relatives stay together; a class that would get none gives the family with the lowest hash, until one is added whose
    own hash says so. One that has too few families for every split is in train, then in val: the notices say so. A
    group with images in a split of the folder stays in train where others can go.
    """
    # Test is cut from what val leaves, and both are fractions of the whole.
    left = 1.0 if "val" in present else 1 - options.val_fraction
    fractions: dict[Split, float] = {"val": options.val_fraction, "test": options.test_fraction / left}
    before = [i for i in images if i.split == "train"]
    held = _groups_elsewhere(images) if has_groups(before) else frozenset()
    notices: list[str] = []
    for split in ("val", "test"):
        if split in present:
            continue
        families = dict(zip([i.place for i in before], family_names(before), strict=True))
        train = [i for i in images if i.split == "train"]
        moved = _drawn([(families[i.place], i.label) for i in train], split, fractions[split], held)
        if not moved:
            raise DataError(
                f"every class has too few {_units(before)} in train to cut {split} from it. "
                f"{remedy_of_few(before, f'make a {split} folder')}"
            )
        images = [replace(i, split=split) if i.split == "train" and families[i.place] in moved else i for i in images]
        count = sum(i.split == split for i in images)
        by = f"group ({len(moved)} of {len(set(families.values()))})" if has_groups(before) else "content hash"
        notices.append(f"no {split} split in the folder: {counted(count, 'image')} cut from train by {by}")
    return images, notices + _rare_said(images, before, present, classes)


def _groups_elsewhere(images: Sequence[ImageRecord]) -> frozenset[str]:
    """The families of train that have images in a split of the folder too: cut to another, they would straddle more."""
    train = [i for i in images if i.split == "train"]
    numbers = dict(zip([i.place for i in images], relatives(images).tolist(), strict=True))
    there = {numbers[i.place] for i in images if i.split != "train"}
    return frozenset(f for f, i in zip(family_names(train), train, strict=True) if numbers[i.place] in there)


def _drawn(train: Sequence[tuple[str, int]], split: Split, fraction: float, held: frozenset[str]) -> set[str]:
    """Which families go to `split`, of the images in train as (family, label); those in `held` only if need be."""
    pool = _Pool.of(train, held)
    draws = {family: _draw(family, split) for family in pool.labels}
    order: dict[int, list[str]] = defaultdict(list)  # the families of each class
    for family in sorted(draws, key=lambda f: (draws[f], f)):
        for label in pool.labels[family]:
            order[label].append(family)
    chosen = {f for f, draw in draws.items() if draw < fraction and f not in pool.held}
    for here in order.values():
        if chosen.issuperset(here):  # train keeps one of each class
            chosen.remove(here[-1])
    for label in sorted(order, key=lambda k: (len(order[k]), k)):  # the class with the least choice first
        if chosen.isdisjoint(order[label]):
            free = [f for f in order[label] if pool.may_go(f, chosen)]
            chosen |= set([f for f in free if f not in pool.held][:1] or free[:1])
    return chosen


@dataclass(frozen=True)
class _Pool:
    """The families of the images in train."""

    labels: dict[str, set[int]]  # of each
    families: dict[int, int]  # how many have images of a class
    held: frozenset[str]  # those that stay where others can go: with most of a class's images, or in other splits too

    @classmethod
    def of(cls, train: Sequence[tuple[str, int]], elsewhere: frozenset[str]) -> _Pool:
        labels: dict[str, set[int]] = defaultdict(set)
        for family, label in train:
            labels[family].add(label)
        total = Counter(label for _, label in train)
        large = {family for (family, label), n in Counter(train).items() if n > MOST * total[label]}
        return cls(labels, Counter(k for own in labels.values() for k in own), elsewhere | large)

    def may_go(self, family: str, chosen: set[str]) -> bool:
        """Whether train keeps one of each class when `family` goes the way of those that are `chosen`."""
        gone = Counter(label for f in chosen for label in self.labels[f])
        return all(self.families[label] - gone[label] > 1 for label in self.labels[family])


def _draw(family: str, split: str) -> float:
    """A number in [0, 1) that depends on the family's name and the split alone."""
    return int(digest([split, family])[:13], 16) / 16**13


def _rare_said(
    images: Sequence[ImageRecord], before: Sequence[ImageRecord], present: Collection[Split], classes: Sequence[str]
) -> list[str]:
    """One line on the classes that not every split has an image of: which, where they are, and what that means."""
    families: dict[int, set[str]] = defaultdict(set)
    for image, family in zip(before, family_names(before), strict=True):
        families[image.label].add(family)
    there = {(i.split, i.label) for i in images}
    parts, without = [], set()
    for label, name in enumerate(classes):
        here = [s for s in SPLITS if (s, label) in there]
        lacking = [s for s in SPLITS if s not in here and s not in present]
        if lacking:
            without |= set(lacking)
            parts.append(f"{name!r} has {len(families[label])} and is in {' and '.join(here)} only")
    if not parts:
        return []
    splits = " and ".join(s for s in SPLITS if s in without)
    return [
        f"too few {_units(before)} for every split: {'; '.join(parts)}. Figures of {splits} leave such classes out, "
        "where they have no image"
    ]


def _units(images: Sequence[ImageRecord]) -> str:
    return "groups" if has_groups(images) else "distinct images"


def _less(most: int) -> str:
    return f"take {most} folds" if most > 1 else "leave data.folds out"


def require_folds(images: Sequence[ImageRecord], classes: Sequence[str], folds: int) -> list[str]:
    """What the user should know of classes that have an image in some of the folds only; relatives are one image.

    Raises DataError unless some class has an image for every fold.
    """
    families: dict[int, set[str]] = defaultdict(set)
    for image, family in zip(images, family_names(images), strict=True):
        families[image.label].add(family)
    most = max(map(len, families.values()), default=0)
    if most < folds:
        raise DataError(
            f"data.folds: {folds} folds need at least {folds} {_units(images)} of some class in train and val "
            f"together, and no class has more than {most}. {remedy_of_few(images, _less(most))}"
        )
    rare = [(classes[label], len(own)) for label, own in sorted(families.items()) if len(own) < folds]
    if not rare:
        return []
    parts = [f"{name!r} ({n})" for name, n in rare]
    line = (
        f"data.folds: {folds} folds are more than the {_units(images)} of {', '.join(parts)}: in the other folds' "
        "validation images there is none of the class"
    )
    if single := [repr(name) for name, n in rare if n == 1]:
        line += f"; {' and '.join(single)} is judged by a head that never saw it"
    return [line]
