"""`featcache report`: from finished runs to leaderboard, page, figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from featcache.atomic import write_text
from featcache.records import SILENT, Progress
from heads.leaderboard import RankedResults
from heads.report.figure_files import remove_figures, save_figure
from heads.report.figures import draw
from heads.report.figures import figures as known_figures
from heads.report.html_page import render
from heads.report.markdown_page import markdown
from heads.report.report_contents import collect

FOLDER = "figures"  # the folder below results/


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
    overview = draw(contents)
    figures = [file for _, one in overview.main for file in save_figure(one.spec, results_dir / FOLDER, one.name)]
    drawn = {one.name for _, one in overview.main}
    remove_figures(results_dir / FOLDER, [one.name for one in known_figures() if one.main and one.name not in drawn])
    report = results_dir / f"report.{form}"
    if form == "md":
        write_text(report, markdown(contents, [(title, f"{FOLDER}/{one.name}.png") for title, one in overview.main]))
    else:
        write_text(report, render(contents, overview))
    return Written(report, tuple(figures))
