"""Feature maps side by side: which are redundant, which two complement each other, what all of them get wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heads.redundancy.answers import answers_of
from heads.redundancy.common_errors import CommonErrors, common_errors
from heads.redundancy.feature_alignment import Alignment, align
from heads.redundancy.paired_errors import PairedErrors, paired_errors
from heads.runs import Run

PAIRED = 12  # the best feature maps, each two of which are asked whether they complement each other
UNLIKE = 0.7  # CKA of two that see something different: below


@dataclass(frozen=True, eq=False)
class BackboneComparison:
    """What a board's feature maps have in common."""

    alignment: Alignment | None  # of those with one backbone; None where fewer than two can be compared
    pairs: tuple[PairedErrors, ...]  # of the best candidates with one backbone, the likeliest gain first
    common: CommonErrors | None  # of all candidates with one backbone; None where there are too few

    def cka(self, pair: PairedErrors) -> float | None:
        """That of a pair's feature maps; None where they were not compared."""
        return None if self.alignment is None else self.alignment.of(pair.one, pair.other)

    @property
    def joins(self) -> tuple[PairedErrors, ...]:
        """The pairs that are suggested to be joined, the best first: unlike by CKA, with a gain over the better of the
        two that is beyond chance, and right at least as often as any candidate by itself."""
        best = max((pair.alone for pair in self.pairs), default=0.0)
        found = [
            pair
            for pair in self.pairs
            if pair.beyond_chance and pair.together >= best and (cka := self.cka(pair)) is not None and cka < UNLIKE
        ]
        return tuple(sorted(found, key=lambda pair: -pair.together))


def compare_backbones(
    maps: Sequence[Run], candidates: Sequence[Run], cache_dir: Path | None = None
) -> BackboneComparison:
    """Of the runs of a board's feature maps, best first; `candidates` are those of them that the answer is about.

    Features are read from `cache_dir`, by default from where each run kept them. Joined feature maps are left out:
    what they are joined of says more, and errs as they do.
    """
    single = [run for run in maps if len(run.summary["stores"]) == 1]
    names = {run.folder.name for run in single}
    asked = [run for run in candidates if run.folder.name in names]
    paired = [run.folder.name for run in asked][:PAIRED]
    alignment, answers = align(single, cache_dir), answers_of(asked, paired)
    if answers is None:
        return BackboneComparison(alignment, (), None)
    return BackboneComparison(alignment, tuple(paired_errors(answers)), common_errors(answers))
