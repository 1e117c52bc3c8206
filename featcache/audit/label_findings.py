"""The suspect labels of an audit become a sentence, a table and pictures."""

from __future__ import annotations

from collections.abc import Iterator

from featcache.audit.audit_records import Audit, Suspect
from featcache.audit.finding_views import FIRST, PICTURED, Pictured, Pictures, Remark, Table
from featcache.audit.suspect_labels import FEWEST
from featcache.counted_nouns import are, counted, them


def labels_said(audit: Audit) -> Iterator[str]:
    """Labels that the other images contradict."""
    flagged = [s for s in audit.suspects if s.flagged]
    if flagged:
        first = flagged[0]
        yield (
            f"{counted(len(flagged), 'label')} {are(len(flagged))} contradicted by the other "
            f"images, such as {first.name}: labelled {first.label!r}, looks like {first.suggested!r}. Look at "
            f"{them(len(flagged))}."
        )


def suspect_table(audit: Audit) -> Iterator[Table]:
    """The most suspect ones."""
    rows = tuple(
        (s.name, s.label, s.suggested, f"{s.p_label:.2f}", f"{s.p_suggested:.2f}", "yes" if s.flagged else "")
        for s in audit.suspects[:FIRST]
    )
    columns = ("file", "label", "looks like", "p label", "p other", "flagged")
    if rows:
        yield Table("suspects", "Most suspect labels", columns, rows, frozenset({"p label", "p other"}))


def suspect_pictures(audit: Audit) -> Iterator[Pictures]:
    """Those to look at, with what was said of them."""
    flagged = sum(s.flagged for s in audit.suspects)
    note = (
        "Most suspect first: what heads that never saw the image say of it. "
        f"{flagged} {are(flagged)} flagged by confident learning{_unjudged(audit)}."
    )
    if audit.suspects:
        yield Pictures("Suspect labels", note, tuple(map(_picture, audit.suspects[:PICTURED])))


def _unjudged(audit: Audit) -> str:
    """Which classes are too small for their labels to be judged, in words."""
    totals = {one.name: one.train + one.val + one.test for one in audit.balance}
    small = [f"{name!r} ({counted(total, 'image')})" for name, total in totals.items() if 0 < total < FEWEST]
    return f"; the labels of {' and '.join(small)} are not judged: too few to learn the class from" if small else ""


def _picture(one: Suspect) -> Pictured:
    label, other = Remark(f"{one.label} {one.p_label:.2f}"), Remark(f"{one.suggested} {one.p_suggested:.2f}")
    flag = (Remark("flagged", "bad"),) if one.flagged else ()
    return Pictured(one.name, (label, Remark("rather", "muted"), other, *flag))
