"""What `benchmark`, `report` and `finetune` show at their end: leaderboard, verdict, audit, page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from featcache.counted_nouns import counted, size_said

if TYPE_CHECKING:
    from featcache.app.shared_options import Shared
    from heads.leaderboard import RankedResults, Ranking

Heads = Annotated[
    Literal["auto", "all", "uniform", "tuned"],
    typer.Option(
        help="Of Phase 1 rank the runs with the uniform head, with the best head each (tuned), or all; auto: tuned or "
        "uniform, whichever every backbone has."
    ),
]
RankBy = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC",
        help="Rank by a metric of val, such as balanced_accuracy, instead of top-3, then top-1, then loss.",
    ),
]
BOARD_ANSWER = (  # what `answer_board` has
    "`rows`: each run with every column of leaderboard.csv; `top`, `said` (sentences), `leaderboard` (the file)"
)
AUDITED = 20_000  # images, at most, that `benchmark` audits: time grows with their square, 30 s for 10,000
AUDIT_BACKBONES = 3  # of the leaderboard, that an audit of finished runs asks


def show_leaderboard(results_dir: Path, ranking: Ranking) -> RankedResults:
    """Write leaderboard.csv and show it, with the verdict."""
    from featcache.app.progress import consoles
    from featcache.app.tables import leaderboard_table
    from heads.leaderboard import left_out_lines, rank_results, stand_ins_text, tie_text, verdict, write_leaderboard
    from heads.runs import unreadable_runs

    out, err = consoles()
    for line in unreadable_runs(results_dir):
        err.print(f"warning: passed over: {line}", style="bold yellow", markup=False)
    ranked = rank_results(results_dir, ranking)
    board = ranked.board
    file = results_dir / "leaderboard.csv"
    write_leaderboard(board, file)
    out.print(leaderboard_table(board))
    if board.top:
        out.print(f"\n* top {len(board.top)}: {', '.join(r.backbone for r in board.top)}", markup=False)
    if ranking.rank_by is not None:
        out.print(f"ranked by {board.order_text} on val")
    for line in [*verdict(ranked), *board.gains()]:
        out.print(line, markup=False, highlight=False)
    if any("=" in board.rank_text(r) for r in board.rows):
        out.print(f"= a tie: {tie_text(board)}")
    if any("•" in board.rank_text(r) for r in board.rows):
        out.print("• may be the best: at 95% the best feature map is among these")
    if any(row.control for row in board.rows):
        out.print("– the control group: random weights, not ranked among the others")
    out.print(f"{file}: {counted(len(board.rows), 'run')}", markup=False)
    for line in left_out_lines(ranked):
        err.print(line, markup=False, highlight=False)
    if board.fell_back:
        many = len(board.fell_back)
        err.print(
            f"warning: NO PRETRAINED WEIGHTS for {counted(many, 'backbone')}, seeded random ones instead: "
            f"{stand_ins_text(board)}. Run again where the model hubs can be reached (-v says why they cannot).",
            style="bold yellow",
            markup=False,
            soft_wrap=True,
        )
    return ranked


def warn_of_leakage(ranked: RankedResults) -> None:
    """What leaked images and groups do to the first run."""
    from featcache.app.progress import consoles
    from heads.runs import leakage_lines

    name = ranked.first.summary["backbone"]
    for line in leakage_lines(ranked.first.summary).values():
        consoles()[1].print(f"warning: {name}: {line}", style="bold yellow", markup=False)


def show_recipe_notes(ranked: RankedResults) -> None:
    """What is to be said against the recipe of the runs; the ranking stands, and is read with it."""
    from featcache.app.progress import consoles
    from heads.leaderboard import notes_lines

    for line in notes_lines(ranked):
        consoles()[1].print(f"warning: {line}", style="bold yellow", markup=False)


def leave_recipe_notes_out() -> None:
    """From here on, since `show_recipe_notes` says them at the end: they stay in the log of each run."""
    for handler in logging.getLogger("featcache").handlers:
        handler.addFilter(lambda record: not hasattr(record, "of_recipe"))


def audit_data(ranked: RankedResults, shared: Shared) -> None:
    """Look the data over by the best backbones, and say what matters; the ranking stands, whatever comes of it."""
    count = sum(ranked.first.summary["data"]["images"].values())
    with shared.telling() as progress:
        from featcache.app.progress import consoles
        from featcache.audit import audit_file, write_audit
        from featcache.errors import FeatcacheError
        from heads.runs import audit_runs

        err = consoles()[1]
        if count > AUDITED:
            err.print(
                f"not audited: every pair of {count} images is compared, which takes minutes. `featcache audit "
                f"--results-dir {ranked.results_dir}` does it.",
                markup=False,
            )
            return
        try:
            runs = ranked.best_runs(AUDIT_BACKBONES)
            found = audit_runs(runs, shared.cache_dir, progress, reuse=ranked.results_dir)
            write_audit(found, audit_file(found, ranked.results_dir))
        except FeatcacheError as error:
            err.print(f"warning: the data was not audited: {error}", style="bold yellow", markup=False)
            return
    for line in found.warnings:
        err.print(f"warning: {line}", style="bold yellow", markup=False)


def write_page(ranked: RankedResults, shared: Shared, form: Literal["html", "md"] = "html") -> Path:
    """Write the report of a leaderboard, and say where it is."""
    with shared.telling() as progress:
        from heads.report import write_report

        written = write_report(ranked, form=form, cache_dir=shared.cache_dir, progress=progress)
    typer.echo(f"{written.report}: the report ({size_said(written.report.stat().st_size)})")
    typer.echo(f"{written.figures[0].parent}: {counted(len(written.figures), 'figure')} as SVG and PNG")
    return written.report


def answer_board(shared: Shared, ranked: RankedResults, **more: Any) -> None:
    """The leaderboard for --json, and what else a command has to say."""
    if not shared.json:
        return
    from heads.leaderboard import verdict

    board = ranked.board
    document: dict[str, Any] = {
        "rows": [row.values() for row in board.rows],
        "top": [row.run for row in board.top],
        "said": [*verdict(ranked), *board.gains()],
        "leaderboard": ranked.results_dir / "leaderboard.csv",
    }
    shared.answer({**document, **more})
