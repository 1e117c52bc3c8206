"""A name that no source has in, what was probably meant out: in words, with the exact name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from featcache.backbones.other_names import names_elsewhere
from featcache.backbones.source import Source
from featcache.options import FOLDER, HUB, take_apart

SHOWN = 4


def answer(typed: str, asked: Sequence[Source], others: Iterable[Source] = ()) -> str:
    """One or two sentences that name what `typed` probably means in the sources that were `asked`, or in `others`.

    What others call it comes first, then the same name spelled otherwise, then what is similar; empty where nothing is.
    """
    others = [source for source in others if source.name not in {s.name for s in asked}]
    found = (
        _unknown_tag(typed, asked)
        or _in_another([(s, typed) for s in others if s.has(typed)])
        or _meant(typed, asked)
        or _in_another([(s, name) for s in others for name in exact_names(typed, [s])])
        or _place(typed)
    )
    if found:
        return found
    close = similar_names(typed, asked)
    return f"Nearest: {', '.join(close)}." if close else ""


def _meant(typed: str, asked: Sequence[Source]) -> str:
    """What others call so, and what is spelled otherwise."""
    same = exact_names(typed, asked)
    known = names_elsewhere(typed)
    theirs = [n for n in known.names if any(s.has(n) for s in asked)][:1] if known is not None else []
    note = f" {known.note}" if known is not None and known.note else ""
    if theirs and (not same or "/" in typed or theirs == same):
        return f"Did you mean {theirs[0]!r}?{note}"
    if same:
        more = f" What others call {typed!r} is {theirs[0]!r}.{note}" if theirs and theirs[0] not in same else ""
        return f"Did you mean {_quoted(same)}?{more}"
    return f"It is {known.names[0]!r} of another library: leave model.source out." if known is not None else ""


def exact_names(typed: str, asked: Iterable[Source]) -> list[str]:
    """The names that are spelled like `typed` but for case, dashes, underscores, dots and the library in front."""
    wanted = _squeezed(_bare(typed))
    tagged = "." in typed
    return list(
        dict.fromkeys(
            n for s in asked for n in [*s.names(), *(tagged_names(s) if tagged else [])] if _squeezed(n) == wanted
        )
    )


def similar_names(typed: str, asked: Iterable[Source]) -> list[str]:
    """The few names that are nearest to `typed`: the shortest that begin like it, then those with few changes."""
    wanted = _squeezed(_bare(typed))
    squeezed = {n: _squeezed(n) for s in asked for n in s.names()}
    begin = sorted((n for n, short in squeezed.items() if len(wanted) > 3 and short.startswith(wanted)), key=len)
    back = {short: n for n, short in reversed(squeezed.items())}
    close = [back[short] for short in difflib.get_close_matches(wanted, back, n=SHOWN, cutoff=0.6)]
    return list(dict.fromkeys([*begin[:SHOWN], *close]))[:SHOWN]


def _unknown_tag(typed: str, asked: Sequence[Source]) -> str:
    """For a known network with a tag that it does not have."""
    name, dot, tag = typed.partition(".")
    for source in asked:
        if not dot or not source.has(name):
            continue
        labels = [p.label for p in source.published(name)]
        if source.name == "torchvision":
            if tag in labels:
                return f"torchvision's weights are an option of their own: name {name!r}, and {tag!r} as model.weights."
            continue
        close = difflib.get_close_matches(tag, labels, n=SHOWN, cutoff=0.6) or labels[:SHOWN]
        full = [f"{name}.{label}" for label in close]
        if full:
            return f"{source.name} has {name!r} with other weights: {_quoted(full)}."
    return ""


def _in_another(found: Sequence[tuple[Source, str]]) -> str:
    """Of a name in a source that was not asked."""
    for source, name in found:
        return f"{source.name} has {name!r}: write it as '{source.name}/{name}', and leave model.source out."
    return ""


def _place(typed: str) -> str:
    """For what looks like a folder, or like a repository of the hub."""
    if Path(typed).expanduser().is_dir():
        return f"For the folder, write {f'{FOLDER}{typed}'!r}: it takes timm's config.json and the weights."
    if re.fullmatch(r"[\w-]+/[\w.@-]+", typed):
        return f"For the repository of the Hugging Face hub, write {f'{HUB}{typed}'!r}: it takes timm's config.json."
    return ""


def tagged_names(source: Source) -> list[str]:
    """timm's names with their tags."""
    if source.name != "timm":
        return []
    import timm

    names: list[str] = timm.list_pretrained()
    return names


def _bare(typed: str) -> str:
    """Without the library, the module or the organisation that it is written behind."""
    name = take_apart(typed)[1]
    name = re.sub(r"^(?:torchvision\.)?models\.|^timm\.(?:models\.)?", "", name.strip())
    return name.rpartition("/")[2] if re.fullmatch(r"[\w.-]+/[\w.@-]+", name) else name


def _squeezed(name: str) -> str:
    return re.sub(r"[-_\s.]", "", name.lower())


def _quoted(names: Sequence[str]) -> str:
    return " or ".join(f"{name!r}" for name in names[:SHOWN])
