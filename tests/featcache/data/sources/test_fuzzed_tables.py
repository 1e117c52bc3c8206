"""Tables written in any way that people's tools have are read as the rows that they say; a fault is named with its
line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from written_tables import (
    KINDS,
    NAMES,
    USUAL,
    Form,
    Plain,
    expected_rows,
    forms,
    plain_rows,
    records,
    write_text,
)

from featcache.data.sources import Listing, list_images
from featcache.errors import DataError
from featcache.options import DataOptions

Property = Callable[..., None]
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
LONG = settings(QUICK, max_examples=2000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each name."""
    root = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def read(file: Path) -> Listing:
    return list_images(str(file), DataOptions(path=str(file)))


def said(listing: Listing) -> list[tuple[str, str, str | None, str | None]]:
    return [(row.name, row.label, row.split, row.group) for row in listing.rows]


def refusal(file: Path) -> str:
    """Why the table cannot be read, or nothing can be trained on what it says."""
    try:
        return read(file).refused
    except DataError as error:
        return str(error)


def passed_over(rows: list[Plain], places: list[str]) -> list[tuple[str, str]]:
    """What has to be told of rows that were left out or read once, each with the first of its kind."""
    nameless = [p for r, p in zip(rows, places, strict=True) if not r.image.strip()]
    unlabelled = [p for r, p in zip(rows, places, strict=True) if r.image.strip() and not r.label.strip()]
    first: dict[str, str] = {}
    twice = []
    for row, place in zip(rows, places, strict=True):
        if row.image.strip() and row.label.strip() and first.setdefault(row.image, place) != place:
            twice.append(f"{first[row.image]} and {place} ({row.image})")
    kinds = {"without a label": unlabelled, "without an image": nameless, "there twice": twice}
    return [(f"{len(p)} row{'s' * (len(p) > 1)} {kind}", p[0]) for kind, p in kinds.items() if p]


def check_said(listing: Listing, rows: list[Plain], places: list[str]) -> None:
    """That rows are read as they are, and those passed over are told of."""
    assert said(listing) == expected_rows(rows)
    for what, place in passed_over(rows, places):
        assert any(what in notice and f"such as {place}" in notice for notice in listing.notices), (
            what,
            place,
            listing,
        )


# --- text


@st.composite
def _texts(draw: st.DrawFn) -> tuple[Form, list[Plain]]:
    kinds = draw(st.sampled_from((KINDS, KINDS[:2], KINDS[:3], ("image", "label", "group"))))
    form = draw(forms(kinds))
    return form, draw(plain_rows(form.encoding, kinds=kinds))


def _a_text_is_read(folder: Path, text: tuple[Form, list[Plain]]) -> None:
    form, rows = text
    written = write_text(rows, form)
    (folder / "t.csv").write_bytes(written.data)
    check_said(read(folder / "t.csv"), rows, [f"line {n}" for n in written.lines])


# A fault -> what the row of line L becomes, what is put behind it, and what the message has to say.
FAULTS: dict[str, Callable[[Plain], tuple[Plain, str, list[str]]]] = {
    "label": lambda row: (row._replace(label="other"), "", [f"the label {row.label!r}", "'other'"]),
    "split": lambda row: (
        row._replace(split="test" if row.split != "test" else "val"),
        "",
        [f"the split {row.split!r}", "'test'" if row.split != "test" else "'val'"],
    ),
    "group": lambda row: (
        row._replace(group="other"),
        "",
        [f"the group {row.group!r}" if row.group else "the group none", "'other'"],
    ),
    "unsplit": lambda row: (Plain("#j.png", "cat"), "", ["1 of", "no split", "such as", "(#j.png)"]),
    "no split": lambda row: (row._replace(split="sometime"), "", ["'sometime'", "no split"]),
    "cells": lambda row: (row, "SEPARATORstray", ["cells, the header"]),
    "quote": lambda row: (row, 'SEPARATOR"never closed', ["quote"]),
}


@st.composite
def _faulty_texts(draw: st.DrawFn) -> tuple[Form, list[Plain], str]:
    form = draw(forms())
    rows = [r for r in draw(plain_rows(form.encoding)) if r.image.strip() and r.label.strip() and r.image != "#j.png"]
    return form, rows or [Plain("a.png", "cat", "train", "P1")], draw(st.sampled_from(tuple(FAULTS)))


def _a_planted_fault_is_named_with_its_line(folder: Path, text: tuple[Form, list[Plain], str]) -> None:
    form, rows, fault = text
    row, more, words = FAULTS[fault](rows[0])
    more = more.replace("SEPARATOR", form.separator)
    written = write_text([*rows, row], form, {len(rows): more} if more else {})
    (folder / "t.csv").write_bytes(written.data)
    message = refusal(folder / "t.csv")
    first = [f"line {written.lines[0]}"] if fault in {"label", "split", "group"} else []
    for word in [*words, *first, f"line {written.lines[-1]}", str(folder / "t.csv")]:
        assert word in message, (word, message)


# --- JSON lines


@st.composite
def _records(draw: st.DrawFn) -> tuple[list[Plain], list[dict[str, Any]], bytes, list[str]]:
    """Rows, the records that say so, their file and where in it each is."""
    kinds = draw(st.sampled_from((KINDS, KINDS[:2], KINDS[:3])))
    rows = draw(plain_rows("utf-8", kinds=kinds))
    found = records(rows, {kind: draw(st.sampled_from(USUAL[kind])).strip() for kind in kinds}, draw)
    if draw(st.booleans()):
        return (
            rows,
            found,
            json.dumps(found, indent=draw(st.sampled_from((None, 2)))).encode(),
            _numbers("record", rows),
        )
    end = draw(st.sampled_from(("\n", "\r\n", "\n\n")))
    text = end.join(json.dumps(one, ensure_ascii=draw(st.booleans())) for one in found)
    encoding = draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-16-le")))
    return rows, found, text.encode(encoding), _numbers("line", rows, 2 if end == "\n\n" else 1)


def _numbers(unit: str, rows: list[Plain], step: int = 1) -> list[str]:
    return [f"{unit} {1 + n * step}" for n in range(len(rows))]


def _records_are_read(folder: Path, text: tuple[list[Plain], list[dict[str, Any]], bytes, list[str]]) -> None:
    rows, _, data, places = text
    (folder / "t.jsonl").write_bytes(data)
    check_said(read(folder / "t.jsonl"), rows, places)


# --- Parquet


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[Plain], pyarrow.Table, int]:
    """Rows, the table of any of pyarrow's kinds of text that says so, and the rows of a group."""
    kinds = draw(st.sampled_from((KINDS, KINDS[:2], KINDS[:3])))
    rows = draw(plain_rows("utf-8", kinds=kinds))
    arrays = {}
    for kind in draw(st.permutations(kinds)):
        values = [getattr(row, kind) or None for row in rows]
        kept = draw(st.sampled_from((pyarrow.string(), pyarrow.large_string(), pyarrow.string_view(), "dictionary")))
        if kept == "dictionary":
            arrays[kind] = pyarrow.array(values, pyarrow.string()).dictionary_encode()
        else:
            arrays[kind] = pyarrow.array(values, kept)
    names = {kind: draw(st.sampled_from(USUAL[kind])) for kind in arrays}
    return rows, pyarrow.table({names[kind]: array for kind, array in arrays.items()}), draw(st.integers(1, 4))


def _a_table_is_read(folder: Path, made: tuple[list[Plain], pyarrow.Table, int]) -> None:
    rows, table, group = made
    parquet.write_table(table, folder / "t.parquet", row_group_size=group)
    check_said(read(folder / "t.parquet"), rows, _numbers("row", rows))
    with pyarrow.OSFile(str(folder / "t.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=group)
    check_said(read(folder / "t.arrow"), rows, _numbers("row", rows))


PROPERTIES: dict[str, tuple[st.SearchStrategy[Any], Property]] = {
    "text": (_texts(), _a_text_is_read),
    "faults": (_faulty_texts(), _a_planted_fault_is_named_with_its_line),
    "records": (_records(), _records_are_read),
    "parquet": (_tables(), _a_table_is_read),
}


@pytest.mark.parametrize("depth", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)], ids=["quick", "long"])
@pytest.mark.parametrize("name", PROPERTIES)
def test_what_is_written_is_what_is_read(folder: Path, name: str, depth: settings) -> None:
    made, check = PROPERTIES[name]
    depth(given(made)(lambda one: check(folder, one)))()
