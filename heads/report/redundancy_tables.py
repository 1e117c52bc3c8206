"""The tables of the page on feature maps side by side: pairs, confused classes, images wrong in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heads.leaderboard import said_chance
from heads.redundancy import CommonError, ConfusedClasses
from heads.report.page_tables import map_names
from heads.report.report_contents import Contents

PAIRS = 12  # rows, at most
WRONG = 60  # images, at most


@dataclass(frozen=True)
class PairRow:
    """Two feature maps, and how their errors relate."""

    names: tuple[str, str]
    cells: tuple[str, ...]
    suggested: bool


@dataclass(frozen=True)
class ConfusedRow:
    """Two classes that are taken for each other."""

    classes: str
    cells: tuple[str, ...]
    finding: str


@dataclass(frozen=True)
class WrongImage:
    """An image that no backbone gets right, with what is said of it."""

    name: str
    label: str
    said: str  # what most backbones say, and how many
    flagged: bool  # whether the audit suspects the label


def pair_rows(contents: Contents) -> list[PairRow]:
    """The pairs most likely to gain from being joined, the likeliest first."""
    names, joins = map_names(contents), contents.comparison.joins
    found = []
    for pair in contents.comparison.pairs[:PAIRS]:
        cka = contents.comparison.cka(pair)
        cells = (
            _figure(cka, ".2f") or "–",
            f"{pair.either:.3f}",
            f"{pair.apart:.3f}",
            _figure(pair.reseeded, ".3f"),
            _figure(pair.correlation, ".2f"),
            f"{pair.alone:.3f}",
            f"{pair.together:.3f}",
            f"{pair.gain:+z.3f} [{pair.low:+z.3f}, {pair.high:+z.3f}]",
            said_chance(pair.p).removeprefix("p "),
        )
        found.append(PairRow((names[pair.one], names[pair.other]), cells, pair in joins))
    return found


def confused_rows(contents: Contents, classes: Sequence[str]) -> list[ConfusedRow]:
    """The pairs of classes that are confused most."""
    common = contents.comparison.common
    if common is None:
        return []
    names = map_names(contents)
    found = []
    for one in common.confused:
        different = {min(one.counts), max(one.counts)}
        ends = [f"{n}: {names[common.runs[one.counts.index(n)]]}" for n in sorted(different)]
        ends = ends if len(ends) > 1 else [f"{n}: all" for n in (*different, *different)]
        shared = f"{one.shared.found}", f"{one.shared.expected:.1f}"
        title = " and ".join(classes[place] for place in one.classes)
        found.append(ConfusedRow(title, (str(one.n), *shared, *ends), _finding(one)))
    return found


def wrong_images(contents: Contents, classes: Sequence[str]) -> list[WrongImage]:
    """The images that no backbone gets right: those whose label the audit suspects, then those that most agree on."""
    common = contents.comparison.common
    if common is None:
        return []
    suspects = contents.audit.suspected if contents.audit is not None else frozenset()
    order = sorted(common.images, key=lambda one: not one.is_in(suspects))[:WRONG]
    return [_wrong(one, classes, len(common.runs), one.is_in(suspects)) for one in order]


def _wrong(one: CommonError, classes: Sequence[str], backbones: int, flagged: bool) -> WrongImage:
    return WrongImage(one.image, classes[one.label], f"{classes[one.said]} by {one.by} of {backbones}", flagged)


def _finding(one: ConfusedClasses) -> str:
    if one.by_every and one.by_some:
        return "some images by every backbone, others by some"
    if one.by_every:
        return "by every backbone: look at the images"
    return "by some: choose the backbone" if one.by_some else "too few to say"


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
