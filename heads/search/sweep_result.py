"""The finished trials of a sweep in, what a command shows of them out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from featcache.counted_nouns import counted
from heads.search.chosen_text import chosen_text
from heads.search.chosen_trial import ChosenTrial
from heads.search.objectives import OBJECTIVES

LEADING = 10  # trials that the command shows


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has all its trials."""

    folder: Path
    objectives: tuple[str, ...]
    trials: tuple[FrozenTrial, ...]
    best: tuple[FrozenTrial, ...]  # one, or the Pareto front
    configs: tuple[Path, ...]  # of the best, ready for `featcache train`
    new: int  # trials of this call
    importances: dict[str, float]
    seconds: dict[str, float]  # of this call: total, extract, train, optuna
    chosen: ChosenTrial  # what the best owes to having been chosen

    def leading(self) -> list[FrozenTrial]:
        """The Pareto front by its first objective, or the best few trials."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        chosen = list(self.best) if len(self.objectives) > 1 else complete
        larger = OBJECTIVES[self.objectives[0]].maximise
        return sorted(chosen, key=lambda t: t.values[0], reverse=larger)[:LEADING]

    def lines(self) -> list[str]:
        """What came of it, for people."""
        states = [t.state for t in self.trials]
        kinds = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        counts = ", ".join(f"{states.count(s)} {n}" for n, s in kinds.items())
        total = max(self.seconds["total"], 1e-9)
        share = ", ".join(f"{n} {self.seconds[n]:.1f} s" for n in ("extract", "train"))
        lines = [
            f"{self.folder}: {counted(len(self.trials), 'trial')} ({counts}), {self.new} of them now in {total:.1f} "
            f"s: {share}, Optuna {self.seconds['optuna']:.1f} s ({self.seconds['optuna'] / total:.1%})"
        ]
        if self.importances:
            ranked = ", ".join(f"{k} {v:.2f}" for k, v in self.importances.items())
            lines.append(f"importance for {self.objectives[0]}: {ranked}")
        lines += chosen_text(self.chosen)
        several = len(self.configs) > 1 or len(self.objectives) > 1
        where = self.configs[0].parent if several else self.configs[0]
        what = f"the {len(self.configs)} options of the Pareto front" if several else "the best options"
        return [*lines, f"{what}: {where}; `featcache train {where}` gives their runs, with test figures"]
