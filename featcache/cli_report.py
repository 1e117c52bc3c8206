"""What runs come to: the leaderboard with its verdict, the audit of their data, the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from featcache.console import RESULTS, CacheDir, Quiet, ResultsDir, Verbose, guarded, working

if TYPE_CHECKING:
    from heads.ranking import Leaderboard
    from heads.runs import Run

AUDITED = 20_000  # images, at most, that `benchmark` audits: time grows with their square, 30 s for 10,000
Form = Literal["html", "md"]


@dataclass(frozen=True)
class Ranked:
    """The runs of a results folder, and the leaderboard of those on one data set."""

    results_dir: Path
    runs: list[Run]
    board: Leaderboard

    @property
    def first(self) -> Run:
        """The run on the first place."""
        return next(run for run in self.runs if run.folder.name == self.board.rows[0].run)


@guarded
def report(
    results_dir: ResultsDir = RESULTS,
    cache_dir: CacheDir = None,
    data: Annotated[
        str | None,
        typer.Option(help="Of several data sets the one in this folder, or with this fingerprint; default: the last."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="A page to look at, or Markdown for a pull request.")] = "html",
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write leaderboard.csv, a page (report.html) and the main figures from the finished runs; trains nothing."""
    from featcache.errors import OptionsError

    if open_ and form != "html":
        raise OptionsError(f"report: --open shows the page, and --format {form} writes none. Drop one of the two.")
    ranked = show_leaderboard(results_dir, _fingerprint(results_dir, data))
    _warn_of_leakage(ranked)
    file = write_page(ranked, cache_dir, verbose, quiet, form)
    if open_:
        import webbrowser

        if not webbrowser.open(file.resolve().as_uri()):
            typer.echo(f"{file}: no browser could be started here; open the file by hand.", err=True)


def _fingerprint(results_dir: Path, wanted: str | None) -> str | None:
    """That of the data set which is meant; raises OptionsError where none of the runs is on it, or several are."""
    if wanted is None:
        return None
    from featcache.errors import OptionsError
    from heads.runs import finished_runs

    known = {
        str(run.summary["data"]["fingerprint"]): str(run.summary["data"]["path"]) for run in finished_runs(results_dir)
    }
    folder = str(Path(wanted).expanduser().resolve())
    found = [f for f, path in known.items() if f.startswith(wanted) or path == folder or Path(path).name == wanted]
    if len(found) != 1:
        listed = ", ".join(f"{path} ({fingerprint[:8]})" for fingerprint, path in known.items()) or "none"
        raise OptionsError(f"--data {wanted}: {len(found)} data sets are meant by that. Expected one of: {listed}.")
    return found[0]


def show_leaderboard(results_dir: Path, data: str | None = None) -> Ranked:
    """Write leaderboard.csv (of the data with the fingerprint `data`) and show it, with the verdict."""
    from featcache.errors import RunError
    from featcache.terminal import consoles, leaderboard_table
    from heads.ranking import leaderboard, write_leaderboard
    from heads.runs import finished_runs, unreadable_runs
    from heads.verdict import verdict

    out, err = consoles()
    for line in unreadable_runs(results_dir):
        err.print(f"warning: passed over: {line}", style="bold yellow", markup=False)
    runs = finished_runs(results_dir)
    if not runs:
        raise RunError(f"{results_dir}: holds no finished run. Run `featcache benchmark` or `featcache train` first.")
    board = leaderboard(runs, data)
    file = results_dir / "leaderboard.csv"
    write_leaderboard(board, file)
    out.print(leaderboard_table(board.rows, [board.tied(r) for r in board.rows], board.top))
    if board.top:
        out.print(f"\n* top {len(board.top)}: {', '.join(r.backbone for r in board.top)}", markup=False)
    for line in [*verdict(board, {run.folder.name: run for run in runs}), *board.gains()]:
        out.print(line, markup=False, highlight=False)
    if any(board.tied(r) for r in board.rows):
        out.print("= a tie: the 95% interval of the difference to the first of that rank, on val, holds 0")
    out.print(f"{file}: {len(board.rows)} runs", markup=False)
    if board.left_out:
        err.print(f"{len(board.left_out)} runs on other data are left out, such as {board.left_out[0]}", markup=False)
    if board.fell_back:
        err.print(
            f"\nNO PRETRAINED WEIGHTS for {len(board.fell_back)} of these backbones: they stand here with seeded "
            "random weights (column weights).\nThis ranking says nothing about the pretrained networks. Run again "
            "where the model hubs can be reached.",
            style="bold yellow",
            markup=False,
        )
    return Ranked(results_dir, runs, board)


def _warn_of_leakage(ranked: Ranked) -> None:
    """What leaked images do to the first run."""
    from featcache.terminal import consoles
    from heads.runs import leakage_line

    if line := leakage_line(ranked.first.summary["leakage"]):
        name = ranked.first.summary["backbone"]
        consoles()[1].print(f"warning: {name}: {line}", style="bold yellow", markup=False)


def audit_data(ranked: Ranked, cache_dir: Path | None, verbose: bool, quiet: bool) -> None:
    """Look the data over by the best backbones, and say what matters; the ranking stands, whatever comes of it."""
    data = ranked.first.summary["data"]
    count = sum(data["images"].values())
    with working(verbose, quiet) as progress:
        from featcache.audit import audit_file, write_audit
        from featcache.cli_audit import audit_runs
        from featcache.errors import FeatcacheError
        from featcache.terminal import consoles

        err = consoles()[1]
        if count > AUDITED:
            err.print(
                f"not audited: every pair of {count} images is compared, which takes minutes. `featcache audit "
                f"--results-dir {ranked.results_dir}` does it.",
                markup=False,
            )
            return
        try:
            found = audit_runs(ranked.results_dir, cache_dir, progress, data["fingerprint"], reuse=True)
            write_audit(found, audit_file(found, ranked.results_dir))
        except FeatcacheError as error:
            err.print(f"warning: the data was not audited: {error}", style="bold yellow", markup=False)
            return
    for line in found.warnings:
        err.print(f"warning: {line}", style="bold yellow", markup=False)


def write_page(ranked: Ranked, cache_dir: Path | None, verbose: bool, quiet: bool, form: Form = "html") -> Path:
    """Write the report of a leaderboard, and say where it is."""
    with working(verbose, quiet) as progress:
        from heads.report import write_report

        written = write_report(
            ranked.results_dir, ranked.board, ranked.runs, form=form, cache_dir=cache_dir, progress=progress
        )
    typer.echo(f"{written.report}: the report ({written.report.stat().st_size / 1e6:.1f} MB)")
    typer.echo(f"{written.figures[0].parent}: {len(written.figures)} figures as SVG and PNG")
    return written.report
