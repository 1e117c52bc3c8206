"""`featcache report`: from finished runs to leaderboard, page, figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from featcache.atomic import write_text
from featcache.records import SILENT, Progress
from heads.leaderboard import RankedResults
from heads.report.html_page import overview_figures, render
from heads.report.markdown_page import markdown
from heads.report.report_contents import collect
from heads.report.vega import save_figure

FIGURES = "figures"  # the folder below results/
MAIN = {
    "latency_top3": "Latency against validation top-3",
    "latency_top1": "Latency against validation top-1",
    "latency_split": "Latency by part",
    "macs_latency": "Multiply-adds against latency",
    "separability_linear_probe": "Linear probe against validation top-1",
    "separability_logme": "LogME against validation top-1",
    "gains": "Gain of Phase 2 over Phase 1",
}


@dataclass(frozen=True)
class Written:
    """The files of a report."""

    report: Path
    figures: tuple[Path, ...]


def write_report(
    ranked: RankedResults,
    *,
    form: str = "html",
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Written:
    """report.html (`form` "html") or report.md ("md") in the results folder, and the main figures as SVG and PNG.

    Reads what is ranked from the results folder and the stores it was trained on, and nothing else but the image files
    that thumbnails are first made from. Trains nothing.
    """
    results_dir = ranked.results_dir
    contents = collect(ranked, cache_dir=cache_dir, progress=progress)
    specs = {name: spec for name, spec in overview_figures(contents).items() if name in MAIN}
    figures = [file for name, spec in specs.items() for file in save_figure(spec, results_dir / FIGURES, name)]
    report = results_dir / f"report.{form}"
    if form == "md":
        write_text(report, markdown(contents, [(MAIN[name], f"{FIGURES}/{name}.png") for name in specs]))
    else:
        write_text(report, render(contents))
    return Written(report, tuple(figures))
