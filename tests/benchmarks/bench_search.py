"""How near samplers come to the best that is known, by trial and by time: `bin/bench search [FOLDER[:BACKBONE]...]`.

Each problem is a data set's cached features with three or eight options of small heads (search_problems.py beside
this says which); every trial is really trained, all samplers and seeds side by side. Regret is the best objective
that any trial of any of them reached on the problem, less the sampler's best so far.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))  # the modules that tests share

from numpy.typing import NDArray
from optuna.trial import TrialState
from photographs import machine
from scipy import stats
from search_problems import DIGITS, FEW, Problem, Trained, folder, make_problem

from featcache.session import Session
from heads.search.objectives import OBJECTIVES
from heads.search.point_keys import point_key
from heads.search.samplers import SamplerSetup, find_sampler, make_sampler
from heads.search.spsa_climb import SEED_VALUES

Array = NDArray[np.float64]
SAMPLERS = "random grid tpe cmaes gp spsa"
WANTED = OBJECTIVES["val_top1"]


class Run:
    """One sampler with one seed on one problem. `NAME@BATCH` asks for so many trials at once, `NAME~loss` is told the
    loss in place of the objective; what is judged is the objective."""

    def __init__(self, problem: Problem, sampler: str, seed: int, trials: int) -> None:
        plain, _, by = sampler.partition("~")
        self.name, _, batch = plain.partition("@")
        self.problem, self.sampler, self.seed, self.trials = problem, sampler, seed, trials
        self.batch = int(batch or find_sampler(self.name).batch)
        self.followed = OBJECTIVES[f"val_{by}" if by else "val_top1"]
        space = problem.space
        setup = SamplerSetup(
            space.distributions, space.start(problem.base), batch=self.batch, trials=trials, seed=seed, finished=0
        )
        direction = "maximize" if self.followed.maximise else "minimize"
        self.study = optuna.create_study(direction=direction, sampler=make_sampler(self.name, setup))
        self.values: list[float] = []
        self.seconds = 0.0  # of choosing
        self.points = iter(space.points()) if self.name == "grid" else None

    def ask(self) -> list[Mapping[str, Any]]:
        begin = time.process_time()
        count = min(self.batch, self.trials - len(self.values))
        self.asked = []
        for _ in range(count):
            if self.points is not None and (point := next(self.points, None)) is not None:
                self.study.enqueue_trial(point)
            self.asked.append(self.study.ask(self.problem.space.distributions))
        self.seconds += time.process_time() - begin
        return [trial.params for trial in self.asked]

    def tell(self, found: Sequence[Trained | None]) -> None:
        for trial, one in zip(self.asked, found, strict=True):
            if one is None:
                self.study.tell(trial, state=TrialState.FAIL)
                self.values.append(-math.inf)
                continue
            trial.set_user_attr(SEED_VALUES, [self.followed.value(seed) for seed in one.by_seed])
            self.study.tell(trial, self.followed.value(one.figures))
            self.values.append(WANTED.value(one.figures))

    def record(self, trained: float) -> dict[str, Any]:
        """What the tables are made of; `trained`: seconds of a trial in a batch of this size."""
        return {
            "data": self.problem.data.name,
            "options": self.problem.options,
            "sampler": self.sampler,
            "seed": self.seed,
            "values": self.values,
            "distinct": len({point_key(t.params) for t in self.study.trials}),
            "choosing": self.seconds / self.trials,
            "training": trained,
        }


def race(runs: Sequence[Run]) -> None:
    """Take all of them to their end; what they ask for in a round is trained together."""
    while live := [run for run in runs if len(run.values) < run.trials]:
        asked = [run.ask() for run in live]
        found = iter(live[0].problem.train([point for points in asked for point in points]))
        for run, points in zip(live, asked, strict=True):
            run.tell([next(found) for _ in points])


def seconds_of_a_trial(problem: Problem, batch: int) -> float:
    """Of a core, trained in a batch of this size."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(batch))
    points = [study.ask(problem.space.distributions).params for _ in range(batch)]
    known, problem.known = problem.known, {}
    begin = time.process_time()
    problem.train(points)
    seconds = time.process_time() - begin
    problem.known = known
    return seconds / batch


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The records of every run that is asked for."""
    session = Session.begin(device="cpu", results_dir=arguments.cache)
    datasets = [DIGITS, FEW, *map(folder, arguments.folders)]
    for data in datasets:
        for options in arguments.options:
            names = arguments.samplers.split()
            grids = {_lays_grid(name) for name in names}
            cache, heads = arguments.cache, arguments.heads
            ways = {grid: "grid" if grid else "random" for grid in grids}
            made = {grid: make_problem(data, options, way, heads, session, cache) for grid, way in ways.items()}
            shared: dict[str, Trained | None] = {}
            for problem in made.values():
                problem.known = shared  # only one is trained at a point that both know
            runs = []
            for name in names:
                grid = _lays_grid(name)
                for seed in range(1 if grid else arguments.seeds):
                    runs.append(Run(made[grid], name, seed, arguments.trials))
            for grid in grids:
                race([run for run in runs if run.problem is made[grid]])
            trained = {b: seconds_of_a_trial(runs[0].problem, b) for b in {run.batch for run in runs}}
            print(f"{data.name}, {options} options: {len(shared)} points trained", file=sys.stderr, flush=True)
            yield from (run.record(trained[run.batch]) for run in runs)


def _lays_grid(sampler: str) -> bool:
    return find_sampler(sampler.partition("@")[0].partition("~")[0]).grid


@dataclass(frozen=True, eq=False)
class Outcome:
    """The runs on one problem."""

    title: str
    records: Sequence[dict[str, Any]]

    @cached_property
    def best(self) -> float:
        """The best that is known."""
        return max(max(r["values"]) for r in self.records)

    @cached_property
    def regrets(self) -> dict[str, dict[int, Array]]:
        """By sampler and seed, after each trial, in hundredths of top-1."""
        found: dict[str, dict[int, Array]] = {}
        for r in self.records:
            found.setdefault(r["sampler"], {})[r["seed"]] = 100 * (self.best - np.maximum.accumulate(r["values"]))
        return found

    def of(self, sampler: str, key: str) -> float:
        """The mean of what a sampler's records say."""
        return float(np.mean([r[key] for r in self.records if r["sampler"] == sampler]))

    def seconds(self, sampler: str) -> float:
        """Of a trial, chosen and trained."""
        return self.of(sampler, "choosing") + self.of(sampler, "training")

    def affords(self, sampler: str) -> int:
        """Trials in the time that random takes for all of its own."""
        trials = len(self.records[0]["values"])
        return max(1, min(trials, int(trials * self.seconds("random") / self.seconds(sampler) + 1e-9)))


def tables(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a table for each problem, then one for each number of options with all data sets."""
    problems = dict.fromkeys((r["data"], r["options"]) for r in records)
    outcomes = {
        (data, options): Outcome(
            f"{data}, {options} options", [r for r in records if (r["data"], r["options"]) == (data, options)]
        )
        for data, options in problems
    }
    for outcome in outcomes.values():
        yield from _table(outcome)
    for options in dict.fromkeys(options for _, options in problems):
        yield from _together(options, {data: outcomes[data, o] for data, o in problems if o == options})


def _table(of: Outcome) -> Iterator[str]:
    trials = len(of.records[0]["values"])
    marks = [trials // 3, 2 * trials // 3, trials]
    several = [name for name, curves in of.regrets.items() if len(curves) > 1]  # a grid has no seeds
    leader = min(several, key=lambda name: float(np.mean([c[-1] for c in of.regrets[name].values()])))
    named = [f"trial {m}" for m in marks]
    named += ["equal time (trials)", "ahead of random", "behind the best", "points", "ms to choose"]
    yield f"\n**{of.title}** (best known val top-1 {of.best:.4f})\n"
    yield f"| sampler | n | {' | '.join(named)} |"
    yield "|---|--:|" + "--:|" * len(named)
    for name, curves in of.regrets.items():
        rows = np.stack(list(curves.values()))
        afford = of.affords(name)
        cells = [str(len(rows)), *(_mean(rows[:, m - 1]) for m in marks), f"{_mean(rows[:, afford - 1])} ({afford})"]
        cells += [_apart(of.regrets["random"], curves), _apart(curves, of.regrets[leader])]
        cells += [f"{of.of(name, 'distinct'):.0f}", f"{1000 * of.of(name, 'choosing'):.1f}"]
        yield f"| {name} | {' | '.join(cells)} |"


def _together(options: int, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """The regret in the end on every data set, its mean, by how much that is less than random's, and at equal time."""
    yield f"\n**{options} options: regret in the end**\n"
    yield f"| sampler | n | {' | '.join(outcomes)} | mean | ahead of random | mean at equal time |"
    yield "|---|--:|" + "--:|" * (len(outcomes) + 3)
    for name in dict.fromkeys(name for of in outcomes.values() for name in of.regrets):
        on = {data: of for data, of in outcomes.items() if name in of.regrets}
        ends = {data: np.array([c[-1] for c in of.regrets[name].values()]) for data, of in on.items()}
        cells = [_mean(ends[data]) if data in ends else "" for data in outcomes]
        if len(on) < len(outcomes):
            cells += ["", "", ""]
        else:
            seeds = sorted(set.intersection(*(set(of.regrets[name]) & set(of.regrets["random"]) for of in on.values())))
            lead = [np.mean([o.regrets["random"][s][-1] - o.regrets[name][s][-1] for o in on.values()]) for s in seeds]
            afford = [np.mean([c[o.affords(name) - 1] for c in o.regrets[name].values()]) for o in on.values()]
            ahead = _mean(np.array(lead)) if len(seeds) > 1 and name != "random" else ""
            cells += [f"{np.mean([e.mean() for e in ends.values()]):.2f}", ahead, f"{np.mean(afford):.2f}"]
        yield f"| {name} | {max(map(len, ends.values()))} | {' | '.join(cells)} |"


def _mean(values: Array) -> str:
    """The mean with half its 95% interval (Student's t over seeds)."""
    if len(values) < 2:
        return f"{values.mean():.2f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.2f} ± {half:.2f}"


def _apart(curves: Mapping[int, Array], others: Mapping[int, Array]) -> str:
    """By how much the second have less regret in the end, over the seeds that both have; a grid has but one."""
    seeds = sorted(curves.keys() & others.keys())
    if curves is others or len(seeds) < 2:
        return ""
    return _mean(np.array([curves[s][-1] - others[s][-1] for s in seeds]))


def main() -> None:
    """Measure, and print the tables of all that is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER[:BACKBONE]", help="further data sets (pretrained)")
    parser.add_argument("--samplers", default=SAMPLERS, help=f"NAME[@BATCH][~loss], default: {SAMPLERS}")
    parser.add_argument("--options", type=int, nargs="+", choices=(3, 8), default=[3, 8])
    parser.add_argument("--seeds", type=int, default=10, help="of each sampler")
    parser.add_argument("--heads", type=int, default=2, help="of each trial, whose mean counts")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="where features are kept")
    parser.add_argument("--kept", type=Path, help="a file of runs, a JSON line each: added to, and part of the tables")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    kept: list[dict[str, Any]] = []
    if arguments.kept is not None and arguments.kept.exists():
        kept = [json.loads(line) for line in arguments.kept.read_text().splitlines()]
    print(machine())
    for record in measure(arguments):
        kept.append(record)
        if arguments.kept is not None:
            with arguments.kept.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
    print("\n".join(tables(kept)))


if __name__ == "__main__":
    main()
