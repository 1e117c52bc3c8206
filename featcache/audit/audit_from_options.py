"""An audit of the data set that options files name, by the backbones that they name: extracted first where needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featcache.audit.audit_from_stores import audit_stores
from featcache.audit.audit_records import Audit
from featcache.backbones import describe_backbone
from featcache.data import DEMO_DIGITS, load_manifest, quarantined
from featcache.errors import DataError, OptionsError
from featcache.extraction import extract_backbone
from featcache.options import Options
from featcache.records import BadImage, Manifest, Progress
from featcache.session import Session
from featcache.store import open_store


@dataclass(frozen=True)
class BackboneView:
    """What one backbone has seen of the data."""

    store: Path
    manifest: Manifest  # of the images that can be read
    bad: tuple[BadImage, ...]


def plain_options(loaded: Sequence[Options]) -> list[Options]:
    """What to extract for each backbone: plain views alone, however many files are bad.

    Raises OptionsError where `loaded` are not all on one data set.
    """
    first = loaded[0]
    for one in loaded:
        if _data(one) != _data(first):
            raise OptionsError(
                f"audit: {first.experiment_name} and {one.experiment_name} are on different data: "
                f"{_differences(first, one)}. An audit is of one data set: give its configs alone, or set the same "
                "with --set."
            )
    plain = {"max_bad_fraction": 1.0, "augmentations": (), "views": None, "folds": None}
    data = first.data.model_copy(update=plain)
    return [part.model_copy(update={"data": data}) for one in loaded for part in one.parts]


def view_data(options: Options, session: Session) -> BackboneView:
    """Extract what is missing. A class with no readable image left in a split, which nothing can be trained on, is a
    finding here: all that could be read is in the store by the time that the extraction refuses it."""
    try:
        done = extract_backbone(options, session)
    except DataError as error:
        return _of_the_rest(options, session, error)
    return BackboneView(done.store.path, done.manifest, done.bad)


def audit_views(views: Sequence[BackboneView], progress: Progress, *, folds: bool = False) -> Audit:
    """The audit by all of them, of data that is used in `folds` or not; a file that could not be read by one of them,
    for whatever moment, is bad."""
    bad = {one.name: one for view in views for one in view.bad}
    paths = list(dict.fromkeys(view.store for view in views))
    readable = views[-1].manifest.without({one.sha256 for one in bad.values()})
    return audit_stores(paths, readable, bad.values(), progress, folds=folds)


def data_folder(options: Options) -> Path:
    """Where the images lie, or will lie: the demo's are written below the cache."""
    return options.cache.folder / "demo" if options.data.path == DEMO_DIGITS else resolved(options.data.path)


def resolved(name: str) -> Path:
    """The absolute path of a name as users write it."""
    try:
        return Path(name).expanduser().resolve()
    except RuntimeError:  # ~somebody who has no home: said when it is opened
        return Path(name)


def _of_the_rest(options: Options, session: Session, refusal: DataError) -> BackboneView:
    """What there is beside the unreadable files; raises the `refusal` where it was for another reason."""
    manifest, _ = load_manifest(options.data, options.cache.folder)  # raises what the extraction did, if that was here
    bad = quarantined(manifest, options.cache.folder)
    readable = manifest.without({one.sha256 for one in bad})
    if not bad or not readable.images:
        raise refusal
    info, _ = describe_backbone(options, allow_custom=session.allow_custom)
    return BackboneView(open_store(options.cache, info.at_depth(manifest.depth)).path, readable, bad)


def _data(options: Options) -> dict[str, object]:
    """What of the options decides which images there are, in which split, and what their pixels are."""
    data = options.data
    return {
        "path": str(resolved(data.path)),
        "root": data.root and str(resolved(data.root)),
        "columns": data.columns and data.columns.model_dump(exclude_none=True),
        "classes": data.classes,
        "limit": data.limit and data.limit.model_dump(exclude_none=True),
        "depth": data.depth,
        "truncated": data.truncated,
        "exclude": data.exclude and str(resolved(data.exclude)),
        "groups": data.groups and data.groups.said,
        "val_fraction": data.val_fraction,
        "test_fraction": data.test_fraction,
    }


def _differences(first: Options, other: Options) -> str:
    a, b = _data(first), _data(other)
    return "; ".join(f"data.{key} is {a[key]} and {b[key]}" for key in a if a[key] != b[key])
