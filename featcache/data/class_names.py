"""The names of classes as sources spell them become those of the data set: compared, picked, merged, renamed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from featcache.counted_nouns import counted
from featcache.data.sources import Listing, composed
from featcache.errors import DataError
from featcache.options import Classes, merged_names
from featcache.records import SPLITS, Split

SHOWN = 5  # names in a message

Counts = Mapping[str, Counter[Split | None]]  # how many images of a class are in each split


@dataclass(frozen=True)
class Named:
    """A listing whose rows have the classes of the data set, and what became of the others."""

    listing: Listing
    left_out: frozenset[str] = frozenset()  # the names of images whose class is not picked
    notices: tuple[str, ...] = ()


def name_classes(listing: Listing, asked: Classes | None) -> Named:
    """`listing` with its classes in Unicode's composed form (NFC), without blanks around them as tables have them, and
    those that `asked` (data.classes) picks, merged.

    Raises DataError for names that differ by case or spaces alone, and for one that no class, or no image, has.
    """
    spelt = Counter((row.label, row.split) for row in listing.rows)
    counts: dict[str, Counter[Split | None]] = defaultdict(Counter)
    for (name, split), n in spelt.items():
        counts[composed(name)][split] += n
    if asked is None:
        _require_told_apart(listing, counts)
        meant = {name: name.strip() or name for name in counts}
    else:
        known = _told(counts)
        meant = {known.get(composed(old), composed(old)): composed(new) for old, new in merged_names(asked).items()}
        _require_known(meant, counts, listing.empty)
    new = {name: meant.get(composed(name)) for name, _ in spelt}
    if all(name == other for name, other in new.items()):
        return Named(listing)
    kept = [row._replace(label=label) for row in listing.rows if (label := new[row.label]) is not None]
    gone = frozenset(row.name for row in listing.rows if new[row.label] is None)
    said = [] if asked is None else _said(meant, counts)
    return Named(replace(listing, rows=kept), gone, tuple(said))


def said_counts(splits: Mapping[Split | None, int]) -> str:
    """How many images a class has, split by split, in words."""
    if set(splits) <= {None}:
        return counted(sum(splits.values()), "image")
    parts = [f"{splits[s]} in {s}" for s in SPLITS if splits.get(s)]
    return ", ".join(parts)


def few(parts: Sequence[str], mark: str, most: int = SHOWN) -> str:
    """The first of `parts`, and how many more there are."""
    rest = len(parts) - most
    return mark.join(parts[:most]) + (f"{mark}and {rest} more" if rest > 0 else "")


def _require_told_apart(listing: Listing, counts: Counts) -> None:
    """Raise DataError where names differ by case or spaces alone: they may be meant as one class or as two."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        alike["".join(name.casefold().split())].append(name)
    pairs = [names for names in alike.values() if len(names) > 1]
    if not pairs:
        return
    said = [" and ".join(f"{name!r} ({said_counts(counts[name])})" for name in names) for names in pairs]
    first = pairs[0]
    merged = f'{{"{first[-1].strip()}": [{", ".join(_quoted(n) for n in first)}], ..}}'
    raise DataError(
        f"{listing.root}: names of classes that differ by case or spaces alone: {few(said, '; ')}. Expected one "
        f"spelling for each class: rename them, or say with data.classes what is meant, {merged} for one class, or a "
        f"list with each spelling, [{', '.join(_quoted(n) for n in first)}, ..], for several."
    )


def _told(counts: Counts) -> dict[str, str]:
    """Each name without the blanks around it, where no other class is called so, and the name as it is spelt."""
    return {name.strip(): name for name in counts if name.strip() not in counts}


def _require_known(meant: Mapping[str, str], counts: Counts, empty: Collection[str]) -> None:
    wrong = [name for name in meant if name not in counts]
    if not wrong:
        return
    bare = [repr(name) for name in wrong if name in {composed(one).strip() for one in empty}]
    if bare:
        raise DataError(
            f"data.classes: there is a folder for {few(bare, ', ')}, and no image in it. Add images, or leave the "
            "class out."
        )
    said = []
    for name in wrong:
        close = _closest(name, sorted(counts))
        said.append(f"{name!r}" + (f" (did you mean {close!r}?)" if close else ""))
    raise DataError(
        f"data.classes: no class is called {few(said, ', ')}. Expected names of classes of the data, which are "
        f"{few([repr(name) for name in sorted(counts)], ', ', 20)}."
    )


def _closest(name: str, names: Sequence[str]) -> str | None:
    plain = {n.casefold(): n for n in reversed(names)}
    close = get_close_matches(name.casefold(), plain, n=1)
    return plain[close[0]] if close else None


def _said(meant: Mapping[str, str], counts: Counts) -> list[str]:
    """What data.classes merges, renames and leaves out."""
    parts: dict[str, list[str]] = defaultdict(list)
    for old, new in meant.items():
        parts[new].append(old)
    changed = [
        f"{new!r} is {' and '.join(map(repr, old))} ({counted(sum(counts[o].total() for o in old), 'image')})"
        for new, old in parts.items()
        if [name.strip() for name in old] != [new]
    ]
    said = [f"data.classes: {few(changed, '; ')}"] if changed else []
    gone = {name: n for name in sorted(counts) if name not in meant and (n := counts[name].total())}
    if gone:
        said.append(
            f"data.classes: {counted(sum(gone.values()), 'image')} of {counted(len(gone), 'class')} left out: "
            + few([f"{name!r} ({n})" for name, n in gone.items()], ", ")
        )
    return said


def _quoted(name: str) -> str:
    return f'"{name}"'
