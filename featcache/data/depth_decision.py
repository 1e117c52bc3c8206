"""The images of a data set that have more than 8 bits to a value become one decision: which values are white."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from featcache.data.content_hashes import HashMemo
from featcache.data.file_formats import READER
from featcache.data.high_bits import FULL
from featcache.data.image_files import read_samples
from featcache.data.sample_range import Samples, value_range
from featcache.data.unreadable_image import GivenUpError, UnreadableImageError
from featcache.options import DataOptions
from featcache.records import PLAIN_DEPTH, Depth, ImageRecord

BITS = (8, 10, 12, 14, 16)  # that "auto" chooses from


@dataclass(frozen=True)
class ValueRange:
    """What is known of the values of one content."""

    floating: bool
    low: float
    high: float
    stated: bool  # the file says itself which are black and white
    changes: bool  # its 8 bits are other ones than those that were once made of them without asking the file

    @classmethod
    def of(cls, samples: Samples) -> ValueRange:
        """Those of `samples`."""
        low, high = value_range(samples.colours)
        stated = samples.stated is not None
        changes = samples.garbled or (samples.read_before and (samples.inverted or (stated and samples.stated != FULL)))
        return cls(samples.floating, low, high, stated, changes)


def decide_depth(images: Sequence[ImageRecord], memo: HashMemo, options: DataOptions) -> tuple[Depth, list[str]]:
    """The depth of all `images` together by `data.depth`, and what the user should know of it.

    Files that may have more than 8 bits are read once to see their range; `memo` remembers it. Where no image's pixels
    depend on the decision, it is PLAIN_DEPTH.
    """
    contents = {i.sha256: i for i in images if memo.may_exceed_8_bits(i.sha256)}
    _look(contents.values(), memo, options.workers or os.cpu_count() or 1, options.decode_timeout_s)
    ranges = {}
    for sha256 in contents:
        _, known = memo.value_range(sha256, READER)
        if known is not None:
            ranges[sha256] = ValueRange(**known)
    if not ranges:
        return PLAIN_DEPTH, []
    option = str(options.depth)
    integers = {s: r for s, r in ranges.items() if not r.stated and not r.floating}
    floats = {s: r for s, r in ranges.items() if not r.stated and r.floating}
    chosen = Depth(_rule(integers.values(), option, 65535), _rule(floats.values(), option, 1))
    if chosen.integers is None and any(r.changes for r in ranges.values()):
        chosen = Depth("16", chosen.floats)
    said = [f"{len(ranges)} of {len({i.sha256 for i in images})} different images have more than 8 bits to a value"]
    for kind, group, rule in (("values", integers, chosen.integers), ("floating-point values", floats, chosen.floats)):
        if group:
            said.append(_said(kind, group, rule, contents))
    if stated := sum(r.stated for r in ranges.values()):
        said.append(f"{stated} say their own range")
    notice = "; ".join(said) + f" (data.depth: {options.depth})"
    return chosen, [notice + _change(memo, chosen) if options.depth == "auto" else notice]


def _look(contents: Iterable[ImageRecord], memo: HashMemo, workers: int, timeout_s: float | None) -> None:
    """Have `memo` know the values of all these contents."""
    new = [i for i in contents if not memo.value_range(i.sha256, READER)[0]]
    if not new:
        return
    with ThreadPoolExecutor(workers) as pool:
        for image, known in zip(new, pool.map(partial(_range_of, timeout_s), new), strict=True):
            if isinstance(known, GivenUpError):
                memo.remember_unread(image.sha256, str(known))  # once is enough for this command
            elif known != {}:
                memo.remember_range(image.sha256, READER, known)


def _range_of(timeout_s: float | None, image: ImageRecord) -> dict[str, Any] | GivenUpError | None:
    """None for 8 bits, or no image; empty where the file cannot be read just now; why its decoder was stopped."""
    try:
        data = image.place.read()
        if hashlib.sha256(data).hexdigest() != image.sha256:
            return {}
        samples = read_samples(data, timeout_s)
    except OSError:
        return {}
    except GivenUpError as error:
        return error
    except UnreadableImageError:
        return None
    return asdict(ValueRange.of(samples)) if samples is not None else None


def _rule(ranges: Iterable[ValueRange], option: str, white: int) -> str | None:
    """The depth of values of one kind; None where they need none, since `white` is theirs."""
    ranges = list(ranges)
    if not ranges:
        return None
    low, high = min(r.low for r in ranges), max(r.high for r in ranges)
    if white == 1 and low >= 0 and high <= 1 and option not in {"minmax", "percentile"}:
        return None  # scaled already: as so many bits all of them would be black
    if option != "auto":
        rule = option
    elif low < 0 or high > 65535:
        rule = "minmax"
    else:
        rule = str(next(bits for bits in BITS if high <= 2**bits - 1))
    return None if rule == "16" and white == 65535 else rule


def _said(kind: str, group: dict[str, ValueRange], rule: str | None, contents: dict[str, ImageRecord]) -> str:
    low, high = min(r.low for r in group.values()), max(group.values(), key=lambda r: r.high).high
    largest = contents[max(group, key=lambda s: (group[s].high, s))].name
    return f"{kind} from {low:g} to {high:g} (in {largest}) are shown {_spelt(rule, kind)}"


def _spelt(rule: str | None, kind: str) -> str:
    if rule is None:
        return "as 16 bits" if kind == "values" else "with 1 as white"
    return {
        "minmax": "between each image's own least and largest",
        "percentile": "between each image's own percentiles",
    }.get(rule, f"as {rule} bits")


def _change(memo: HashMemo, chosen: Depth) -> str:
    """What is to be said where the images were seen at another depth when the folder held others."""
    now, known = asdict(chosen), memo.decided
    before = known.get("before")
    if known and known["depth"] != now:
        before = known["depth"]
    memo.decide({"depth": now, "before": before})
    if before is None or before == now:
        return ""
    was = (
        _spelt(before["integers"], "values") if before["integers"] != now["integers"] else _spelt(before["floats"], "")
    )
    return f"; with other images there they were shown {was}, and rows made so do not serve now"
