"""Images in, the same with val and test cut from train out, where the source has no such split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from featcache.counted_nouns import counted
from featcache.data.few_groups import remedy_of_few
from featcache.data.stratified_cut import part
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import SPLITS, ImageRecord, Split
from featcache.relatives import family_names, has_groups, relatives


def cut_missing_splits(
    images: list[ImageRecord],
    present: Collection[Split],
    classes: tuple[str, ...],
    options: DataOptions,
    by: str | None = None,
) -> tuple[list[ImageRecord], list[str]]:
    """`images` with val and test cut from train where the source has neither among `present`, and notices of it.

    Families (copies of one content, a group) are parted class by class (`featcache.data.stratified_cut.part`). A class
    that has too few for every split is in train, then in val: the notices say so. A group with images in a split of the
    source stays in train where others can go. `by` is as in `remedy_of_few`.
    """
    fractions: dict[Split, float] = {"val": options.val_fraction, "test": options.test_fraction}
    shares = {split: share for split, share in fractions.items() if split not in present}
    if not shares:
        return images, []
    before = [i for i in images if i.split == "train"]
    names = family_names(before)
    families: dict[str, Counter[int]] = defaultdict(Counter)
    for family, image in zip(names, before, strict=True):
        families[family][image.label] += 1
    held = _groups_elsewhere(images) if has_groups(before) else frozenset()
    moved = part(families, shares, held)
    most = max(Counter(label for own in families.values() for label in own).values(), default=0)
    for split in shares:
        if split not in moved.values():
            raise DataError(
                f"every class has too few {_units(before)} in train to cut {split} from it: {most} at the most. "
                f"{remedy_of_few(before, f'make a {split} folder', by)}"
            )
    parted = [replace(i, split=moved.get(family, "train")) for i, family in zip(before, names, strict=True)]
    images = [*parted, *(i for i in images if i.split != "train")]
    return images, [_cut_said(parted, moved, len(families)), *_rare_said(images, before, present, classes)]


def _cut_said(parted: Sequence[ImageRecord], moved: Mapping[str, Split], families: int) -> str:
    """Which splits were cut, and how many images, or groups, are in each part."""
    cut = [split for split in SPLITS if split in moved.values()]
    counts = Counter(i.split for i in parted)
    parts = " and ".join(f"{counted(counts[s], 'image')} for {s}" for s in cut)
    line = f"no {' and no '.join(cut)} split in the data: {parts} cut from train, stratified by class, by "
    if has_groups(parted):
        groups = Counter(moved.values())
        line += f"group ({', '.join(f'{groups[s]} for {s}' for s in cut)} of {families})"
    else:
        line += "content hash"
    return f"{line}; {counts['train']} stay there"


def _groups_elsewhere(images: Sequence[ImageRecord]) -> frozenset[str]:
    """The families of train that have images in a split of the folder too: cut to another, they would straddle more."""
    train = [i for i in images if i.split == "train"]
    numbers = dict(zip([i.place for i in images], relatives(images).tolist(), strict=True))
    there = {numbers[i.place] for i in images if i.split != "train"}
    return frozenset(f for f, i in zip(family_names(train), train, strict=True) if numbers[i.place] in there)


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


def require_folds(
    images: Sequence[ImageRecord], classes: Sequence[str], folds: int, by: str | None = None
) -> list[str]:
    """What the user should know of classes that have an image in some of the folds only; relatives are one image.
    `by` is as in `remedy_of_few`.

    Raises DataError unless some class has an image for every fold.
    """
    families: dict[int, set[str]] = defaultdict(set)
    for image, family in zip(images, family_names(images), strict=True):
        families[image.label].add(family)
    most = max(map(len, families.values()), default=0)
    if most < folds:
        raise DataError(
            f"data.folds: {folds} folds need at least {folds} {_units(images)} of some class in train and val "
            f"together, and no class has more than {most}. {remedy_of_few(images, _less(most), by)}"
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
