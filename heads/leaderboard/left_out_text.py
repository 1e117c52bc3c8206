"""Which finished runs are not on a board, in words: those with other heads, and those on other data."""

from __future__ import annotations

from featcache.counted_nouns import are, counted, them
from heads.leaderboard.compared_heads import kind_of, lost_maps
from heads.leaderboard.control_text import listed
from heads.leaderboard.ranked_results import RankedResults

NAMED = 3  # backbones that a line names, at most


def left_out_lines(ranked: RankedResults) -> list[str]:
    """A line for each reason that runs are left out for; none where every run is there."""
    return [line for line in (_other_heads(ranked), _other_data(ranked), _stale(ranked)) if line]


def _other_heads(ranked: RankedResults) -> str:
    """How many runs with other heads there are, and the options that show them."""
    others = ranked.other_heads
    if not others:
        return ""
    kind = kind_of(others[0])
    compared = "uniform" if kind == "tuned" else "tuned"
    line = f"{counted(len(others), 'run')} with {_heads(len(others), kind)} {are(len(others))} left out, as the board "
    line += f"compares {compared} ones"
    lost = lost_maps(others, [ranked.run(row) for row in ranked.board.rows])
    if lost:
        named = [*lost[:NAMED], *([f"{len(lost) - NAMED} more"] if len(lost) > NAMED else [])]
        line += f" (of {listed(named)} there {are(len(lost))} none)"
    return f"{line}: --heads {kind} shows {them(len(others))}, --heads all both"


def _heads(count: int, kind: str) -> str:
    return f"{kind} heads" if count > 1 else f"a {kind} head"


def _stale(ranked: RankedResults) -> str:
    stale = ranked.stale
    if not stale:
        return ""
    named = "; ".join(f"{name}: {reason}" for name, reason in list(stale.items())[:NAMED])
    more = f"; and {len(stale) - NAMED} more" if len(stale) > NAMED else ""
    return (
        f"{counted(len(stale), 'combination')} of runs that have changed {are(len(stale))} left out ({named}{more}): "
        "`featcache combine` makes it again"
    )


def _other_data(ranked: RankedResults) -> str:
    names = ranked.board.left_out
    if not names:
        return ""
    return f"{counted(len(names), 'run')} on other data {are(len(names))} left out, such as {names[0]}"
