"""Several backbones shared out to worker processes, each whole to one device, before they are asked for one by one.

Nothing is measured meanwhile, and what one backbone lacks is said when its turn comes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from featcache.backbones import describe_backbone, load_parts
from featcache.counted_nouns import counted
from featcache.data import HashMemo, load_manifest, look_for_truncated
from featcache.errors import FeatcacheError
from featcache.extraction.row_extraction import extract_rows
from featcache.extraction.spread_rows import kept_scratch, sharing_cores
from featcache.extraction.store_fill import StoreFill
from featcache.options import Options
from featcache.records import Manifest, digest
from featcache.session import Session
from featcache.store import open_store
from featcache.workers import Failed, Job, Worker

log = logging.getLogger("featcache")


def spread_backbones(configs: Sequence[Options], session: Session) -> None:
    """Fill the stores of the backbones that `configs` name, each on one device of the session's, as long as there are
    as many as devices: those that are left over are split later, image by image. Raises WorkError when a worker dies.
    """
    workers = session.workers
    if workers is None:
        return
    wanted = list(_unfilled(configs, session))
    whole = wanted[: len(wanted) - len(wanted) % workers.count]
    if not whole:
        return
    names = [one.backbone for one in whole]
    session.progress.begin(f"{len(whole)} backbones on {workers.count} devices", sum(o.missing for o in whole), "img")

    def tell(number: int, method: str, arguments: tuple[Any, ...]) -> None:
        if method == "advance":
            session.progress.advance(arguments[0], names[number])
        elif method == "end":
            log.info("%s: %s", names[number], arguments[0])

    jobs = [Job(fill_whole, (sharing_cores(o.options, workers.count), session.allow_custom)) for o in whole]
    outcomes = workers.run(jobs, tell=tell)
    failed = [n for n, one in zip(names, outcomes, strict=True) if isinstance(one, Failed)]
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, Failed):  # it is tried again when its turn comes, and then said
            log.debug("%s: %s", name, outcome.text)
    session.progress.end(f"{counted(len(names) - len(failed), 'backbone')} extracted")


@dataclass(frozen=True)
class _Wanted:
    """A backbone whose store lacks rows."""

    options: Options
    backbone: str
    missing: int  # images


def _unfilled(configs: Sequence[Options], session: Session) -> Iterator[_Wanted]:
    """The backbones that have rows to be extracted, each once."""
    manifests: dict[str, tuple[Manifest, HashMemo]] = {}
    seen = set()
    for options in (part for one in configs for part in one.parts):
        try:
            data = digest([options.data.model_dump(mode="json"), options.cache.dir])
            if data not in manifests:
                manifests[data] = load_manifest(options.data, options.cache.folder)
            manifest, memo = manifests[data]
            info, _ = describe_backbone(options, allow_custom=session.allow_custom)
            info = info.at_depth(manifest.depth)
            fill = StoreFill(options, manifest, memo, open_store(options.cache, info))
            missing = len(fill.missing())
        except FeatcacheError:
            continue
        if missing and (key := (data, info.identity)) not in seen:
            seen.add(key)
            yield _Wanted(options, info.identity.backbone, missing)


def fill_whole(worker: Worker, options: Options, allow_custom: bool) -> int:
    """In a worker: all rows that one backbone's store lacks; how many images were extracted."""
    session = Session(
        torch.device(worker.device),
        allow_custom=allow_custom,
        progress=worker.progress,
        scratch=kept_scratch(worker, options),
    )
    manifest, memo = load_manifest(options.data, options.cache.folder)
    (backbone,) = load_parts(options, allow_custom=allow_custom)
    backbone = backbone.at_depth(manifest.depth)
    store = open_store(options.cache, backbone.info)
    fill = StoreFill(options, manifest, memo, store)
    store.hold()
    look_for_truncated(manifest, memo, options.data, store.rows())
    with store.writing(log.warning) as writer:
        tasks = fill.missing()
        return extract_rows(fill, tasks, backbone, writer, session) if tasks else 0
