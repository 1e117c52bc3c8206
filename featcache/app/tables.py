"""Results as tables on a terminal: leaderboard, trials, backbones, stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from featcache.app.error_reporting import printable
from featcache.counted_nouns import counted

if TYPE_CHECKING:
    from featcache.data import DataView
    from heads.leaderboard import Leaderboard, Row


def leaderboard_table(board: Leaderboard) -> Table:
    """A leaderboard for people; those that go on to Phase 2 are starred, tied ranks carry an equals sign, the control
    group stands last.

    Where Phase 2 has runs, a last column says what fine-tuning brought; the columns that make room for it are in
    leaderboard.csv. Where a row is still too wide, names are folded, not figures.
    """
    from heads.leaderboard import shown

    tuned = any(row.gain_top1 is not None for row in board.rows)
    columns = [column for column in shown("terminal", board.rows, board.order[0]) if not (tuned and column.gives_way)]
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for column in columns:
        named = not column.form
        table.add_column(
            column.heading("terminal"), justify="left" if named else "right", no_wrap=not named, overflow="fold"
        )
    for place, row in enumerate(board.rows):
        if row.control and place and not board.rows[place - 1].control:
            table.add_row()
        cells = [_ranked(board, row) if column.name == "rank" else column.text(row, "terminal") for column in columns]
        table.add_row(*map(Text, cells), style="bold" if row in board.top else None)
    return table


def _ranked(board: Leaderboard, row: Row) -> str:
    rank, mark, dot = board.rank_text(row).partition("=")  # figures stand below each other
    return f"{'*' if row in board.top else ' '}{rank}{mark or ' '}{dot or ' '}"


SHOWN_OF_TRIALS = ("val_top1", "val_top3", "val_loss", "latency_ms", "macs")


def trials_table(trials: Sequence[Any], keys: Sequence[str], objectives: Sequence[str] = ()) -> Table:
    """A sweep's leading trials: what they are in order of, figures on val, what they cost, and the options that were
    searched."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    keys = list(keys) or sorted({k for t in trials for k in t.params})
    further = [place for place, name in enumerate(objectives) if name not in SHOWN_OF_TRIALS]
    own = [objectives[place] for place in further]
    for name in ("trial", *own, "val top-1 [95%]", "val top-3", "val loss", "latency ms", "GMACs"):
        table.add_column(name, justify="right", no_wrap=True)
    for key in keys:
        table.add_column(key.rpartition(".")[2], no_wrap=True)
    for trial in trials:
        seen = trial.user_attrs
        values = (trial.params.get(k) for k in keys)
        table.add_row(
            str(trial.number),
            *(f"{trial.values[place]:.5g}" for place in further),
            f"{seen['val_top1']:.4f} [{seen['val_top1_low']:.3f}, {seen['val_top1_high']:.3f}]",
            f"{seen['val_top3']:.4f}",
            f"{seen['val_loss']:.4f}",
            f"{seen['latency_ms']:.1f}",
            f"{seen['macs'] / 1e9:.2f}",
            *(Text(f"{v:.4g}" if isinstance(v, float) else str(v)) for v in values),
        )
    return table


def trial_values(trial: Any, objectives: Sequence[str]) -> dict[str, Any]:
    """One of them for --json: the options that were searched by their names, its figures beside them."""
    told = dict(zip(objectives, trial.values, strict=True))
    return {"trial": trial.number, **told, **trial.user_attrs, "params": trial.params}


def data_table(view: DataView) -> Table:
    """Images by class and split, and of all classes together."""
    columns = view.columns
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="fold")
    for name in (*columns, "all"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, counts in view.table:
        cells = [str(n) if n else "no images" for n in counts]
        table.add_row(Text(printable(name)), *cells, str(sum(counts)))
    sums = [sum(counts) for counts in zip(*(counts for _, counts in view.table), strict=True)]
    table.add_row(f"all {len(view.table)}", *map(str, sums), str(sum(sums)), style="bold")
    return table


def catalogue_table(listed: Sequence[Any]) -> Table:
    """Backbones by name."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("backbone", "source", "features", "input", "weights", "at hand"):
        table.add_column(name, justify="right" if name in {"features", "input"} else "left", no_wrap=True)
    for row in listed:
        table.add_row(
            Text(row.name),
            row.source,
            str(row.features or "-"),
            str(row.input_size or "-"),
            Text(row.weights),
            row.place or "no",
        )
    return table


def catalogue_values(row: Any) -> dict[str, Any]:
    """One of them for --json, by the names of the table's columns."""
    return {
        **{"backbone": row.name, "source": row.source, "features": row.features, "input": row.input_size},
        **{"weights": row.weights, "at_hand": row.place or None},
    }


def stores_table(entries: Sequence[Any]) -> Table:
    """The stores of a cache folder."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("store", "backbone", "input", "weights", "rows", "views", "type", "MB", "last used", "data sets"):
        right = name in {"input", "rows", "views", "MB", "last used"}
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for entry in entries:
        table.add_row(
            Text(f"{entry.path.stem} ({counted(entry.parts, 'part')})" if entry.where else entry.path.name),
            Text(entry.backbone),
            str(entry.input_size or "-"),
            Text(entry.weights),
            str(entry.rows),
            str(entry.views or "-"),
            entry.dtype,
            f"{entry.size_bytes / 1e6:.1f}",
            age(entry.idle_seconds),
            Text(entry.fault or ", ".join(entry.datasets), style="bold yellow" if entry.fault else ""),
        )
    return table


def store_values(entry: Any) -> dict[str, Any]:
    """One of them for --json, by the names of the table's columns; bytes and seconds in full."""
    return {
        **{
            "store": entry.where or entry.path,
            "parts": entry.parts,
            "backbone": entry.backbone,
            "input": entry.input_size,
            "weights": entry.weights,
        },
        **{"rows": entry.rows, "views": entry.views, "type": entry.dtype, "bytes": entry.size_bytes},
        **{"idle_seconds": entry.idle_seconds, "data_sets": entry.datasets, "fault": entry.fault or None},
    }


def age(seconds: float) -> str:
    """How long ago, in the largest unit that says something."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"
