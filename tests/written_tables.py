"""Plain rows of a table of images, and the many ways in which spreadsheets and scripts write the same rows as text.

Cells are quoted and lines counted here by themselves, without the `csv` module that reads them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

# Names of files as people have them, with everything that separates cells elsewhere.
NAMES = (
    "a.png",
    "b b.png",
    "sub/c, c.png",
    "sub/d;d.png",
    "sub/e|e.png",
    "deep/er/f'f.png",
    'deep/"g".png',
    "deep/h=1.png",
    "Käse/ü.png",
    "#j.png",
)
CLASSES = ("cat", "dog; or wolf", 'a "fox", red', "Müll|Größe", "two\nlines", "tab\tbed", "7", "-", "'", "naïve é")
KINDS = ("image", "label", "split", "group")
USUAL = {
    "image": ("path", "Image Path", "FILE-NAME", " filename ", "image_id", "Image  ID"),
    "label": ("label", "Class", "class name", "CATEGORY", "Target "),
    "split": ("split", "Subset", "DATA SPLIT"),
    "group": ("group", "Patient-ID", "case id"),
}
SPLITS = {"train": ("train", "Training", " TRAIN"), "val": ("val", "Valid", "validation"), "test": ("test", "Testing")}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-be-sig", "cp1252")
BREAK = re.compile("\r\n|\r|\n")


class Plain(NamedTuple):
    """What a row says, and what of it is missing ("")."""

    image: str
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Form:
    """How rows are written."""

    columns: tuple[str, ...]  # KINDS, and others
    header: dict[str, str]
    encoding: str
    separator: str
    end: str
    stated: bool  # `sep=;` in the first line
    always_quoted: bool
    trailing: bool  # a separator at the end of each line
    blank_before: int  # blank lines above the header
    blank_every: int  # and after each so many rows; 0: none
    last_end: bool


@dataclass(frozen=True)
class Written:
    """A table as bytes, and the line on which each of its rows begins."""

    data: bytes
    lines: list[int]


def labels(encoding: str = "utf-8") -> st.SearchStrategy[str]:
    """Names of classes that an encoding can write."""
    known = st.sampled_from([name for name in CLASSES if _writes(encoding, name)])
    if encoding == "cp1252":
        return known
    text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=6)
    return known | text.map(lambda said: " ".join(said.split()) or "x")


def _writes(encoding: str, text: str) -> bool:
    try:
        return bool(text.encode(encoding.removesuffix("-sig") if "16" in encoding else encoding))
    except UnicodeEncodeError:
        return False


@st.composite
def forms(draw: st.DrawFn, kinds: Sequence[str] = KINDS) -> Form:
    """Any way to write a table of these kinds of columns, and columns that say nothing beside them."""
    columns = draw(st.permutations([*kinds, *draw(st.sampled_from(((), ("note",), ("note", "more"))))]))
    extra = {"note": draw(st.sampled_from(("note", "a, b", "x;y|z", 'said "so"'))), "more": "größer"}
    header = {kind: draw(st.sampled_from(USUAL[kind])) if kind in USUAL else extra[kind] for kind in columns}
    return Form(
        tuple(columns),
        header,
        encoding=draw(st.sampled_from(ENCODINGS)),
        separator=draw(st.sampled_from(",;\t|")),
        end=draw(st.sampled_from(("\n", "\r\n", "\r"))),
        stated=draw(st.booleans()),
        always_quoted=draw(st.booleans()),
        trailing=draw(st.booleans()),
        blank_before=draw(st.sampled_from((0, 0, 1, 2))),
        blank_every=draw(st.sampled_from((0, 0, 1, 3))),
        last_end=draw(st.booleans()),
    )


@st.composite
def plain_rows(draw: st.DrawFn, encoding: str, *, kinds: Sequence[str] = KINDS) -> list[Plain]:
    """Rows of some of NAMES, each of one label, split and group; some cells missing, some rows there twice."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    rows = [
        Plain(
            name,
            draw(labels(encoding)),
            draw(st.sampled_from(tuple(SPLITS))) if "split" in kinds else "",
            draw(st.sampled_from(("", "P1", "P 2"))) if "group" in kinds else "",
        )
        for name in names
    ]
    rows += [rows[n] for n in draw(st.lists(st.integers(0, len(rows) - 1), max_size=2))]
    for n in draw(st.sets(st.integers(1, len(rows)), max_size=2)):  # the first stays: one file must be there
        missing = draw(st.sampled_from(("image", "label")))
        rows.insert(n, Plain("b b.png", "cat", "train")._replace(**{missing: draw(st.sampled_from(("", " ")))}))
    return rows


def expected_rows(rows: Sequence[Plain]) -> list[tuple[str, str, str | None, str | None]]:
    """What a reader should make of rows: those that name an image and a label, each once."""
    said = [(r.image, r.label, r.split or None, r.group or None) for r in rows if r.image.strip() and r.label.strip()]
    return list(dict.fromkeys(said))


def write_text(rows: Sequence[Plain], form: Form, more: dict[int, str] | None = None) -> Written:
    """`rows` as a table of text; `more` is put at the end of some of them as it is."""
    text = f"sep={form.separator}{form.end}" if form.stated else ""
    text += form.end * form.blank_before + _line([form.header[kind] for kind in form.columns], form)
    lines = []
    for number, row in enumerate(rows):
        text += form.end
        if form.blank_every and number % form.blank_every == 0:
            text += form.end
        lines.append(1 + len(BREAK.findall(text)))
        text += _line([_said(row, kind, number, form) for kind in form.columns], form) + (more or {}).get(number, "")
    return Written(_encoded(text + form.end * form.last_end, form.encoding), lines)


def _said(row: Plain, kind: str, number: int, form: Form) -> str:
    """A cell; splits by any of their names, notes of everything that has to be quoted."""
    if kind == "split":
        return SPLITS[row.split][number % len(SPLITS[row.split])] if row.split in SPLITS else row.split
    return str(getattr(row, kind)) if kind in KINDS else f'{form.separator} "{number}"\nfür'


def _line(cells: Sequence[str], form: Form) -> str:
    return form.separator.join(_cell(cell, form) for cell in cells) + form.separator * form.trailing


def _cell(text: str, form: Form) -> str:
    """Quoted where it must be (RFC 4180)."""
    if form.always_quoted or any(mark in text for mark in f'{form.separator}"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _encoded(text: str, encoding: str) -> bytes:
    if encoding == "utf-16-be-sig":
        return b"\xfe\xff" + text.encode("utf-16-be")
    return text.encode(encoding)


def records(rows: Sequence[Plain], header: dict[str, str], draw: st.DrawFn) -> list[dict[str, Any]]:
    """`rows` as JSON objects: what is missing is "", null or not there; labels are plain, in a list or a choice."""
    found = []
    for row in rows:
        record: dict[str, Any] = {"score": 0.5, "box": {"x": [1, 2]}}
        for kind, name in header.items():
            value: Any = getattr(row, kind)
            if not value.strip():
                value = draw(st.sampled_from(("", None, KeyError)))
            elif kind == "label":
                value = draw(st.sampled_from((value, [value], {"choices": [value]})))
            if value is not KeyError:
                record[name] = value
        found.append(record)
    return found
