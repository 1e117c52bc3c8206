"""Every figure of a report, declared once: contents become the figures that page, SVG, PNG and Markdown show.

To add one: its specification in a function of a `charts_*.py`, and its entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from featcache.separability import Measure, measures
from heads.report import (
    charts_cost,
    charts_curves,
    charts_latency,
    charts_phase2,
    charts_redundancy,
    charts_run,
    charts_separability,
    charts_sweep,
    charts_sweep_way,
)
from heads.report.report_contents import Contents
from heads.report.sweep_results import Sweep
from heads.report.vega_lite import Spec

# The ids of the page's sections. That on separability is left out where nothing was measured, that on redundancy where
# nothing was compared, that on Phase 2 where no run is of it: there a figure of theirs has nothing to draw either.
Section = Literal["leaderboard", "latency", "separability", "redundancy", "curves", "cost", "phase2", "audit"]


@dataclass(frozen=True)
class Figure:
    """A figure that compares runs."""

    name: str  # of its files; `figure-<name>` on the page
    section: Section
    title: str  # where it stands alone, in the Markdown
    make: Callable[[Contents], Spec | None]  # None where there is nothing to draw
    heading: str = ""  # on the page, where the section says the rest; the title by default
    caption: str | Callable[[Contents], str] = ""  # on the page, after the heading
    main: bool = True  # becomes SVG and PNG, and stands in the Markdown
    place: Callable[[Contents], int] | None = None  # within its section; by default in the order of `figures()`


FIGURES: tuple[Figure, ...] = (
    Figure(
        name="latency_top3",
        section="latency",
        title="Latency against validation top-3",
        heading="Top-3.",
        caption=charts_latency.top3_caption,
        make=charts_latency.top3,
    ),
    Figure(
        name="latency_top1",
        section="latency",
        title="Latency against validation top-1",
        heading="Top-1.",
        caption=charts_latency.top1_caption,
        make=charts_latency.top1,
    ),
    Figure(
        name="alignment",
        section="redundancy",
        title="Linear CKA between feature maps",
        caption=charts_redundancy.alignment_caption,
        make=charts_redundancy.alignment,
    ),
    Figure(
        name="curve_images",
        section="curves",
        title="Validation top-1 against training images",
        heading="What more training images would buy.",
        caption=charts_curves.images_caption,
        make=charts_curves.images,
    ),
    Figure(
        name="curve_noise",
        section="curves",
        title="Validation top-1 against wrong training labels",
        heading="Wrong labels.",
        caption=charts_curves.noise_caption,
        make=charts_curves.noise,
    ),
    Figure(
        name="latency_split",
        section="cost",
        title="Latency by part",
        caption=charts_cost.parts_caption,
        make=charts_cost.parts,
    ),
    Figure(
        name="macs_latency",
        section="cost",
        title="Multiply-adds against latency",
        caption=charts_cost.macs_caption,
        make=charts_cost.macs,
    ),
    Figure(
        name="gains",
        section="phase2",
        title="Gain of Phase 2 over Phase 1",
        heading="Gain over the Phase 1 run.",
        caption="An interval that holds 0 is a gain that may be luck. The numbers are the leaderboard's.",
        make=charts_phase2.gains,
    ),
)


def figures() -> tuple[Figure, ...]:
    """Every figure that compares runs: those of FIGURES, and for each measure of separability one, before Phase 2's."""
    of_measures = tuple(_of_measure(measure) for measure in measures().values())
    place = next(number for number, figure in enumerate(FIGURES) if figure.section == "phase2")
    return (*FIGURES[:place], *of_measures, *FIGURES[place:])


def _of_measure(measure: Measure) -> Figure:
    return Figure(
        name=f"separability_{measure.name}",
        section="separability",
        title=f"{measure.title[:1].upper()}{measure.title[1:]} against validation top-1",
        heading=f"{measure.title}.",
        caption=partial(charts_separability.agreement_caption, measure=measure.name),
        make=partial(charts_separability.measure_accuracy, measure=measure.name),
        main=bool(measure.heading),
        place=partial(charts_separability.agreement_place, measure=measure.name),
    )


@dataclass(frozen=True)
class RunFigure:
    """A figure that the page's script fills with the data of the run that is chosen, and whose place it knows."""

    name: str
    make: Callable[[Sequence[str]], Spec]  # of the classes' names


RUN_FIGURES: tuple[RunFigure, ...] = (
    RunFigure("run_map", charts_run.feature_map),
    RunFigure("run_loss", lambda _: charts_run.curves([("train_loss", "train"), ("val_loss", "val")], "loss")),
    RunFigure("run_top1", lambda _: charts_run.curves([("val_top1", "val")], "validation top-1")),
    RunFigure("run_calibration", lambda _: charts_run.calibration()),
)


@dataclass(frozen=True)
class SweepFigure:
    """A figure of each sweep, or of each objective of each sweep."""

    name: str
    heading: str  # on the page; `{objective}` is filled in
    make: Callable[[Sweep, int], Spec | None]  # of the objective in this place; None where there is nothing to draw
    each: bool = False  # one for each objective; otherwise only for the first
    wide: bool = False  # as wide as the page


SWEEP_FIGURES: tuple[SweepFigure, ...] = (
    SweepFigure("best", "Best {objective} so far", charts_sweep.best_so_far, each=True),
    SweepFigure("front", "Pareto front", lambda sweep, _: charts_sweep.sweep_front(sweep) if sweep.several else None),
    SweepFigure(
        "importance",
        "Importance for {objective}",
        lambda sweep, _: charts_sweep.importance(sweep) if sweep.importances else None,
    ),
    SweepFigure(
        "parallel",
        "Trials as lines through their options",
        lambda sweep, _: charts_sweep.parallel_coordinates(sweep),
        wide=True,
    ),
    SweepFigure("way", "Where it searched, trial by trial", lambda sweep, _: charts_sweep_way.way(sweep), wide=True),
)


@dataclass(frozen=True)
class Drawn:
    """A figure as it is shown of these contents."""

    name: str
    heading: str
    spec: Spec
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Overview:
    """The figures of these contents that compare runs, those that have something to draw."""

    drawn: tuple[tuple[Figure, Drawn], ...]  # in the order of `figures()`
    sections: Mapping[Section, tuple[Drawn, ...]]  # in the order that the page has them

    @property
    def main(self) -> list[tuple[str, Drawn]]:
        """Those that become files, with their titles."""
        return [(figure.title, one) for figure, one in self.drawn if figure.main]


def draw(contents: Contents) -> Overview:
    """Make each figure once, for the page and for files."""
    drawn = tuple((figure, one) for figure in figures() if (one := _drawn(figure, contents)) is not None)
    sections: dict[Section, list[tuple[int, Drawn]]] = {section: [] for section in get_args(Section)}
    for figure, one in drawn:
        sections[figure.section].append((0 if figure.place is None else figure.place(contents), one))
    placed = {section: tuple(o for _, o in sorted(some, key=lambda s: s[0])) for section, some in sections.items()}
    return Overview(drawn, placed)


def _drawn(figure: Figure, contents: Contents) -> Drawn | None:
    spec = figure.make(contents)
    if spec is None:
        return None
    caption = figure.caption if isinstance(figure.caption, str) else figure.caption(contents)
    return Drawn(figure.name, figure.heading or f"{figure.title}.", spec, caption)


def draw_sweep(sweep: Sweep, number: int) -> Iterator[Drawn]:
    """The figures of the page's sweep `number`; none where no trial was completed."""
    if not any(trial.values for trial in sweep.trials):
        return
    for figure in SWEEP_FIGURES:
        for place, objective in enumerate(sweep.objectives if figure.each else sweep.objectives[:1]):
            spec = figure.make(sweep, place)
            if spec is not None:
                name = f"sweep{number}_{figure.name}{place if figure.each else ''}"
                yield Drawn(name, figure.heading.format(objective=objective), spec, wide=figure.wide)
