"""Families of images are parted among splits: every class by its shares, exact to one image, alike when some are added.

A family is what is never parted: the copies of a content, or a group.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from featcache.records import Split

MOST = 0.5  # of a class's images in one family: such a one stays in train, lest the class be learned from the rest

Families = Mapping[str, Mapping[int, int]]  # by name: how many images of each class (a label) are in it


def part(families: Families, shares: Mapping[Split, float], held: frozenset[str] = frozenset()) -> dict[str, Split]:
    """The split of each family that does not stay in train; `shares` are of val and test, of those that are wanted.

    The families of a class stand in an order that their names alone decide: val takes its share from one end, test from
    the other. So an image that is added to a class of single images moves at most one image over either end of train,
    and none from val to test or back. Where families are larger they are taken whole, as far as they bring a class
    nearer to its share. Those in `held`, and those with most of a class's images, stay in train where others can go;
    every class has a family in train, then one in val, then one in test.
    """
    return _Cut(families, shares, held).run()


def seats(images: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """How many of a class's `images` are in train and in each split of `shares`.

    Webster's method (Balinski and Young, Fair Representation, 1982), one seat for each split first: with one image more
    exactly one split has one more, and with three splits none is a whole image off its share once each has one.
    """
    parts: dict[Split, float] = {"train": 1 - sum(shares.values()), **shares}
    first = list(parts)[:images]
    # All but the last few seats are known without counting up to them.
    found = {s: max(math.floor(images * share) - len(parts), int(s in first)) for s, share in parts.items()}
    while sum(found.values()) < images:
        found[max(parts, key=lambda s: parts[s] / (2 * found[s] + 1))] += 1
    return found


class _Cut:
    """The families that are parted, and where they go so far."""

    def __init__(self, families: Families, shares: Mapping[Split, float], held: frozenset[str]) -> None:
        self._families, self._shares = families, shares
        self._of: dict[int, list[str]] = defaultdict(list)  # the families of each class, in the order of their names
        for family in sorted(families, key=_draw):
            for label in families[family]:
                self._of[label].append(family)
        images = {label: sum(families[f][label] for f in own) for label, own in self._of.items()}
        self._wanted = {(label, s): n for label in images for s, n in seats(images[label], shares).items()}
        self._missing = dict(self._wanted)  # more than are there: below 0
        self._held = held | {f for f, own in families.items() if any(n > MOST * images[k] for k, n in own.items())}
        self._staying = {label: len(own) for label, own in self._of.items()}  # families of each class in train
        self._place: dict[str, Split] = {}

    def run(self) -> dict[str, Split]:
        """Where each family goes that does not stay in train: the rarest classes choose first."""
        rarest = sorted(self._of, key=lambda label: (len(self._of[label]), label))
        for split in self._shares:  # one in each first, lest large families leave none for the next split
            for label in rarest:
                self._require_one(label, split)
        for label in rarest:
            for split in self._shares:
                self._fill(label, split)
        return self._place

    def _fill(self, label: int, split: Split) -> None:
        """Families of a class to `split`, as long as they bring it nearer to what is wanted of all classes."""
        for family in self._from_its_end(label, split):
            if self._missing[label, split] <= 0:
                return
            if family not in self._held and self._may_go(family) and self._brings_nearer(family, split):
                self._move(family, split)

    def _brings_nearer(self, family: str, split: Split) -> bool:
        missing = [(self._missing[label, split], n) for label, n in self._families[family].items()]
        return sum((short - n) ** 2 - short**2 for short, n in missing) <= 0

    def _require_one(self, label: int, split: Split) -> None:
        """A family of the class to `split` where there is none and train keeps one."""
        if self._missing[label, split] < self._wanted[label, split]:
            return
        own = self._from_its_end(label, split)
        rules: tuple[Callable[[str], bool], ...] = (
            lambda f: f not in self._held and self._brings_nearer(f, split),
            lambda f: f not in self._held,
            lambda _: True,
        )
        for rule in rules:
            family = next((f for f in own if rule(f) and self._may_go(f)), None)
            if family is not None:
                self._move(family, split)
                return

    def _from_its_end(self, label: int, split: Split) -> Sequence[str]:
        """The families of a class, those first that are nearest to a split's end of their order."""
        own = self._of[label]
        return own if split == "val" else own[::-1]

    def _may_go(self, family: str) -> bool:
        """Whether a family is in train, and train keeps one of each class when it goes."""
        return family not in self._place and all(self._staying[label] > 1 for label in self._families[family])

    def _move(self, family: str, split: Split) -> None:
        self._place[family] = split
        for label, n in self._families[family].items():
            self._staying[label] -= 1
            self._missing[label, split] -= n


def _draw(family: str) -> str:
    """What families are in the order of: it depends on the name alone."""
    return hashlib.sha256(f"split {family}".encode()).hexdigest()
