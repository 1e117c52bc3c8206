"""The short form of a report, for a README or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.counted_nouns import counted
from heads.leaderboard import Column, Row, shown
from heads.report.missing_features import missing_features
from heads.report.page_tables import Leakage, leakage_rows, leaked_splits
from heads.report.report_contents import Contents


def markdown(contents: Contents, figures: Sequence[tuple[str, str]]) -> str:
    """Verdict, leaderboard, gains, leakage, and the figures (title, file) beside it."""
    board, summary = contents.board, contents.runs[contents.rows[0].run].summary
    images = summary["data"]["images"]
    columns = shown("markdown", contents.rows, contents.board.order[0])
    lines = [
        f"# {_text(str(summary['data']['path']).rpartition('/')[2])}: which feature map separates the classes",
        "",
        *(f"- {_text(line)}" for line in contents.verdict),
        *(f"- {_text(line)}" for line in board.gains()),
        "",
        f"{counted(len(summary['classes']), 'class')}; {images['train']} training, {images['val']} validation and "
        f"{counted(images['test'], 'test image')}; {counted(len(contents.rows), 'run')}. Accuracies are fractions, "
        "intervals 95%; = a tie"
        f"{'; • may be the best' if any('•' in board.rank_text(row) for row in contents.rows) else ''}"
        f"{'; – the control group, on random weights' if any(row.control for row in contents.rows) else ''}.",
        *(text for line in contents.left_out for text in ("", f"{_text(line)}.")),
        *(["", _text(missing)] if (missing := missing_features(contents)) else []),
        "",
        _row([column.heading("markdown") for column in columns]),
        _row(["--:" if column.form else "---" for column in columns]),
        *(_row([_cell(column, row, contents) for column in columns]) for row in contents.rows),
    ]
    lines += _leaked("Leaked, with a copy where they were trained on or chosen by", contents, contents.leakage)
    lines += _leaked("Of a group that was trained on or chosen by", contents, contents.group_leakage)
    for title, file in figures:
        lines += ["", f"![{title}]({file})"]
    return "\n".join([*lines, ""])


def _leaked(what: str, contents: Contents, leakage: Leakage) -> list[str]:
    """How many images leaked, and accuracies with and without them; nothing where there are none."""
    splits = leaked_splits(leakage)
    if not splits:
        return []
    counts = ", ".join(f"{s.leaked} of {counted(s.n, f'{s.title} image')}" for s in splits)
    heads = [f"{s.title} {part}" for s in splits for part in ("top-1 with", "top-1 without", "top-3 with, without")]
    table = [["run", *heads], ["---", *["--:"] * len(heads)]]
    table += [[_text(one.run), *one.cells] for one in leakage_rows(contents, leakage)]
    return ["", f"{what}: {counts}.", "", *map(_row, table)]


def _cell(column: Column, row: Row, contents: Contents) -> str:
    if column.name == "rank":
        return contents.board.rank_text(row)
    if column.name == "backbone":
        return _text(_name(row, contents.rows))
    text = column.text(row, "markdown")
    return text if column.form else _text(text)


def _name(row: Row, rows: Sequence[Row]) -> str:
    """The backbone; with the run where the backbone has several rows."""
    notes = ["fine-tuned"] if row.phase == 2 else []
    if sum(other.backbone == row.backbone for other in rows) > 1:
        notes.append(row.run)
    return f"{row.backbone} ({', '.join(notes)})" if notes else row.backbone


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """A user's text as Markdown shows it, no markup in it."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!&~" else c for c in text.replace("\n", " "))
