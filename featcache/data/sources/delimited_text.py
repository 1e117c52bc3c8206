"""CSV and TSV as spreadsheets and scripts save them become tables: whatever encoding, separator and quoting.

Source: RFC 4180; `sep=;` in the first line is Excel's.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from featcache.data.sources.image_tables import Cells, Table
from featcache.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
CHUNK = 1 << 20  # bytes


def open_delimited(file: Path, score: Callable[[Sequence[str]], int]) -> Table:
    """The CSV or TSV in `file`; of the separators the one whose header has the best `score` is taken.

    Raises DataError where it cannot be read, has no header, or a line has more cells than that.
    """
    try:
        encoding = encoding_of(file)
        stated, headers = _headers(file, encoding)
    except (OSError, UnicodeError, csv.Error) as error:
        raise _broken(file, error) from None
    separator = stated or max(headers, key=lambda mark: (score(headers[mark]), len(headers[mark])))
    header = tuple(name.strip() for name in headers[separator])
    if not any(header):
        raise DataError(f"data.path: {file} is empty. Expected a header, and below it a line for each image.")
    skipped = 1 + bool(stated)

    def read(columns: Sequence[int]) -> Cells:
        width, most = len(header), max(columns, default=0)
        try:
            for number, row in _lines(file, encoding, separator, skipped):
                if len(row) > width and any(cell.strip() for cell in row[width:]):
                    raise DataError(
                        f"data.path: {file}: line {number} has {len(row)} cells, the header {width}. Expected as many: "
                        f"quote cells with {separator!r} in them."
                    )
                if len(row) <= most:
                    row = row + [""] * (most + 1 - len(row))
                yield number, [row[column] for column in columns]
        except (OSError, UnicodeError, csv.Error) as error:
            raise _broken(file, error) from None

    said = (f"{file.name} is not in UTF-8: read as Windows-1252",) if encoding == "cp1252" else ()
    return Table(file, header, read, notices=said)


def encoding_of(file: Path) -> str:
    """The encoding of a text file: by its byte order mark, by the zeros of UTF-16, as UTF-8 where it is that, else
    Windows-1252 (Latin-1, where it has bytes that this lacks)."""
    with file.open("rb") as stream:
        head = stream.read(4096)
        for mark, encoding in BOMS.items():
            if head.startswith(mark):
                return encoding
        if b"\0" in head:
            return "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        stream.seek(0)
        possible = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252")}
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            _decode(possible, chunk)
        _decode(possible, b"", final=True)
    return next(iter(possible), "latin-1")


def _decode(possible: dict[str, codecs.IncrementalDecoder], chunk: bytes, *, final: bool = False) -> None:
    """Leave those decoders in `possible` that can read `chunk`; Windows-1252 is asked once UTF-8 cannot."""
    for name in list(possible):
        try:
            possible[name].decode(chunk, final)
        except UnicodeDecodeError:
            del possible[name]


def _headers(file: Path, encoding: str) -> tuple[str, dict[str, list[str]]]:
    """The separator that the file states, if it does; and the header by each separator that it may have."""
    with file.open(newline="", encoding=encoding) as stream:
        first = stream.readline().strip("\r\n")
        stated = first[4:] if first[:4].lower() == "sep=" and len(first) == 5 else ""
        if not stated:
            stream.seek(0)
        start = stream.tell()
        headers = {}
        for mark in (stated,) if stated else SEPARATORS:
            stream.seek(start)
            headers[mark] = next(csv.reader(stream, delimiter=mark), [])
    return stated, headers


def _lines(file: Path, encoding: str, separator: str, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line with any, after the first `skipped`; a quoted cell may go over several."""
    with file.open(newline="", encoding=encoding) as stream:
        if skipped > 1:
            stream.readline()
        lines = csv.reader(stream, delimiter=separator, strict=True)
        next(lines, None)
        for row in lines:
            if row and (row[0] or any(row)):
                yield lines.line_num + skipped - 1, row


def _broken(file: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(
        f"data.path: {file} cannot be read as a table ({reason}). Expected a CSV with a header: commas, semicolons or "
        "tabs between cells, quotes closed; or JSON lines, or Parquet."
    )
