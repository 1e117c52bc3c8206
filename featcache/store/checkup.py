"""`cache verify` of any store: one file, or many parts."""

from __future__ import annotations

from pathlib import Path

from featcache.store import verification
from featcache.store.opening import is_sharded
from featcache.store.sharded_verification import ShardedVerdict, describe_sharded, repair_sharded, verify_sharded
from featcache.store.verification import Verdict


def verify(path: Path) -> Verdict | ShardedVerdict:
    """Read every byte of the store that is called `path` in a cache's folder; changes nothing."""
    return verify_sharded(path) if is_sharded(path) else verification.verify(path)


def describe(verdict: Verdict | ShardedVerdict) -> str:
    """What was found, in words: one line, and one for each of the first things that are wrong."""
    return verification.describe(verdict) if isinstance(verdict, Verdict) else describe_sharded(verdict)


def repair(verdict: Verdict | ShardedVerdict) -> bool:
    """Drop what `verdict` found to be damaged, so that only that is extracted again; False where it is in use."""
    return verification.repair(verdict) if isinstance(verdict, Verdict) else repair_sharded(verdict)
