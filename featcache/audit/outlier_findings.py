"""The outliers of an audit become a sentence, a table and pictures."""

from __future__ import annotations

from collections.abc import Iterator

from featcache.audit.audit_records import Audit, Outlier
from featcache.audit.finding_views import FIRST, PICTURED, Pictured, Pictures, Remark, Table
from featcache.counted_nouns import counted


def outliers_said(audit: Audit) -> Iterator[str]:
    """Images unlike any other."""
    flagged = [o for o in audit.outliers if o.flagged]
    if flagged:
        belong = "it belongs" if len(flagged) == 1 else "they belong"
        yield (f"{counted(len(flagged), 'image')} unlike any other, such as {flagged[0].name}. Look whether {belong}.")


def outlier_table(audit: Audit) -> Iterator[Table]:
    """Those farthest from all others."""
    rows = tuple((o.name, o.label, f"{o.score:.1f}", "yes" if o.flagged else "") for o in audit.outliers[:FIRST])
    columns = ("file", "label", "score", "flagged")
    if rows:
        yield Table("outliers", "Farthest from all others", columns, rows, frozenset({"score"}))


def outlier_pictures(audit: Audit) -> Iterator[Pictures]:
    """Half as many as of other findings: few of them are worth a look."""
    if audit.outliers:
        items = tuple(map(_picture, audit.outliers[: PICTURED // 2]))
        yield Pictures("Outliers", "Images far from all others.", items)


def _picture(one: Outlier) -> Pictured:
    flag = (Remark("flagged", "bad"),) if one.flagged else ()
    return Pictured(one.name, (Remark(one.label), Remark(f"{one.score:.1f}", "muted"), *flag))
