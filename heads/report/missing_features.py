"""Which feature maps of a report have no features at hand, what is left out for it, and how to get them back."""

from __future__ import annotations

from featcache.counted_nouns import are, counted
from heads.report.page_tables import map_names
from heads.report.report_contents import Contents

NAMED = 5  # feature maps, at most
FEWEST = 4  # images that a map takes


def missing_features(contents: Contents) -> str:
    """A paragraph; "" where the features of every feature map are there, or images are too few for any map."""
    if contents.manifest is not None and len(contents.map_images) < FEWEST:
        return ""
    names = map_names(contents)
    gone = [names.get(r.run, r.backbone) for r in contents.rows if r.phase == 1 and r.run not in contents.map_of]
    if not gone:
        return ""
    named = [*gone[:NAMED], *([f"{len(gone) - NAMED} more"] if len(gone) > NAMED else [])]
    return (
        f"The features of {counted(len(gone), 'feature map')} {are(len(gone))} not at hand ({', '.join(named)}): "
        f"removed from the cache, moved or damaged. So {'its' if len(gone) == 1 else 'their'} similarity to others "
        "(linear CKA), which backbones are redundant or worth joining by it, and maps of images are left out. The same "
        "featcache benchmark or train extracts them again; --cache-dir names a cache that moved."
    )
