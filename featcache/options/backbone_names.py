"""The text of `model.backbone`: which networks it names, and which library each is to be looked up in.

Only the spelling is looked at. Whether there is such a network, `featcache.backbones` knows.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

HUB = "hf-hub:"  # a repository of the Hugging Face hub with timm's config.json
FOLDER = "local-dir:"  # a folder with timm's config.json and the weights
CONFIGURED = (HUB, FOLDER)  # the spellings of timm's own `create_model`

_SPELLED = {"hf_hub:": HUB, "https://huggingface.co/": HUB, "https://hf.co/": HUB, "local_dir:": FOLDER}
_LIBRARIES = ("torchvision", "timm")


def joined_names(text: str) -> tuple[str, ...]:
    """The names between the + signs, without spaces around them. In the path of a `local-dir:` a + is part of the path
    unless it has a space on either side."""
    names: list[str] = []
    for piece in text.split("+"):
        inside = bool(names) and _spelled(names[-1].lstrip()).startswith(FOLDER)
        if inside and not (names[-1].endswith(" ") and piece.startswith(" ")):
            names[-1] += f"+{piece}"
        else:
            names.append(piece)
    return tuple(name.strip() for name in names)


def take_apart(name: str) -> tuple[str | None, str]:
    """The library that a single name is prefixed with, if any, and the name without the prefix.

    `timm/resnet18`, `hf-hub:timm/resnet18` and `https://huggingface.co/timm/resnet18` are timm's resnet18. A repository
    of somebody else's or at a revision keeps its `hf-hub:`, a folder its `local-dir:`, in one spelling each.
    """
    name = _spelled(name)
    if name.startswith(FOLDER):
        path = name.removeprefix(FOLDER).strip()
        return None, f"{FOLDER}{Path(path)}" if path else FOLDER
    plain = name
    if name.startswith(HUB):
        plain = name.removeprefix(HUB).strip().strip("/")
        if not plain.lower().startswith("timm/") or "@" in plain:
            return None, f"{HUB}{plain}"
    for library in _LIBRARIES:
        if plain.lower().startswith((f"{library}/", f"{library}:")):
            return library, plain[len(library) + 1 :].strip()
    return None, plain


def plain_names(text: str, source: str) -> tuple[str, str]:
    """`model.backbone` and `model.source` as they are spelled without prefixes, so that a network has one name however
    it was typed. A prefix stays where no single source says the same, or where it contradicts `source`."""
    parts = [take_apart(name) for name in joined_names(text)]
    if source != "auto":
        agrees = all(library in {None, source} for library, _ in parts)
        return _join([name if agrees else _prefixed(library, name) for library, name in parts]), source
    fits = [_sources(library, name) for library, name in parts]
    common = set.intersection(*fits)
    if common:
        return _join([name for _, name in parts]), "auto" if "auto" in common else common.pop()
    return _join(
        [n if "auto" in f else _prefixed(library, n) for f, (library, n) in zip(fits, parts, strict=True)]
    ), source


def contradiction(text: str, source: str) -> str | None:
    """In words, how the names in `text` contradict `source`."""
    for library, name in map(take_apart, joined_names(text)):
        if source != "auto" and library not in {None, source}:
            return f"model.backbone is {text!r} and model.source is {source!r}: drop one of the two"
        if name.startswith(CONFIGURED) and source not in {"auto", "timm"}:
            return f"model.backbone is {text!r}, which timm reads, and model.source is {source!r}: drop model.source"
        if name in CONFIGURED:
            return f"model.backbone is {text!r}: expected {HUB}ORGANISATION/REPOSITORY or {FOLDER}PATH"
    return None


def _sources(library: str | None, name: str) -> set[str]:
    """Under which of `model.source` the name without its prefix means the same network."""
    if library is None:
        return {"auto", "timm"} if name.startswith(CONFIGURED) else {"auto"}
    # torchvision's names have no tag: one with a tag is found in timm without being told.
    return {"auto", "timm"} if library == "timm" and "." in name else {library}


def _prefixed(library: str | None, name: str) -> str:
    return name if library is None else f"{library}/{name}"


def _join(names: list[str]) -> str:
    text = names[0]
    for before, name in pairwise(names):
        text += f" + {name}" if before.startswith(FOLDER) else f"+{name}"
    return text


def _spelled(name: str) -> str:
    """The name with its scheme in the one spelling."""
    for other, scheme in {**_SPELLED, HUB: HUB, FOLDER: FOLDER}.items():
        if name.lower().startswith(other):
            return scheme + name[len(other) :]
    return name
