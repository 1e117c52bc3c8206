"""CSV and TSV as spreadsheets and scripts save them become tables: whatever encoding, separator and quoting.

Source: RFC 4180; `sep=;` in the first line is Excel's.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from featcache.data.sources.image_tables import Cells, Table
from featcache.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
CHUNK = 1 << 20  # bytes
MOST_CELL = 1 << 24  # characters of a cell, of a column that need not be read
ZEROS = 4  # of so many bytes of UTF-16 one is a zero, where most letters are Latin


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

    def read(columns: Sequence[int]) -> Cells:
        width, most = len(header), max(columns, default=0)
        try:
            for place, (number, row) in enumerate(islice(_lines(file, encoding, separator, bool(stated)), 1, None)):
                if not place:
                    _require_one_separator(file, separator, width, number, row)
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

    read_as = {"cp1252": "Windows-1252", "latin-1": "Latin-1"}
    said = (f"{file.name} is not in UTF-8: read as {read_as[encoding]}",) if encoding in read_as else ()
    return Table(file, header, read, notices=said)


def _require_one_separator(file: Path, separator: str, width: int, number: int, row: Sequence[str]) -> None:
    """Raise DataError where the first row after the header is one cell, and another mark parts it as the header is."""
    if len(row) > 1 or width < 2:
        return
    for mark in SEPARATORS:
        if len(next(csv.reader([row[0]], delimiter=mark))) == width:
            raise DataError(
                f"data.path: {file}: {separator!r} parts the cells of the header, and {mark!r} those of line {number}. "
                "Expected one mark for all: mend the header, or save the table again."
            )


def encoding_of(file: Path) -> str:
    """The encoding of a text file: by its byte order mark, by the zeros of UTF-16, as UTF-8 where it is that, else
    Windows-1252 (Latin-1, where it has bytes that this lacks).

    Raises UnicodeError that names the line for a zero in text of the others, in which it is no letter.
    """
    with file.open("rb") as stream:
        head = stream.read(4096)
        for mark, encoding in BOMS.items():
            if head.startswith(mark):
                return encoding
        if b"\0" in head:
            order = max(("utf-16-le", "utf-16-be"), key=lambda order: _marks(head, order))
            if _is_utf16(head, order):
                return order
        stream.seek(0)
        line = 1
        possible = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252")}
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            before, zero, _ = chunk.partition(b"\0")
            line += max(before.count(b"\n"), before.count(b"\r"))
            if zero:
                raise UnicodeError(f"line {line}: a NUL, a byte of 0, which no text has")
            _decode(possible, chunk)
        _decode(possible, b"", final=True)
    return next(iter(possible), "latin-1")


def _marks(head: bytes, order: str) -> int:
    """How many characters part lines and cells, if bytes are in this order; letters may have zeros on either side."""
    text = head.decode(order, "replace")
    return sum(map(text.count, ("\n", "\r", *SEPARATORS)))


def _is_utf16(head: bytes, order: str) -> bool:
    """Whether bytes with zeros are UTF-16: zeros are many, or the bytes are lines of it and no UTF-8."""
    if head.count(0) * ZEROS >= len(head):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = head.decode(order, "replace")
        return "\ufffd" not in text[:-1] and ("\n" in text or "\r" in text)
    return False


def _decode(possible: dict[str, codecs.IncrementalDecoder], chunk: bytes, *, final: bool = False) -> None:
    """Leave those decoders in `possible` that can read `chunk`; Windows-1252 is asked once UTF-8 cannot."""
    for name in list(possible):
        try:
            possible[name].decode(chunk, final)
        except UnicodeDecodeError:
            del possible[name]


def _headers(file: Path, encoding: str) -> tuple[str, dict[str, list[str]]]:
    """The separator that the file states, if it does; and the header by each separator that can part it."""
    with file.open(newline="", encoding=encoding) as stream:
        first = stream.readline().strip("\r\n")
    stated = first[4:] if first[:4].lower() == "sep=" and len(first) == 5 and first[4] != '"' else ""
    headers, refused = {}, None
    for mark in (stated,) if stated else SEPARATORS:
        try:
            headers[mark] = next(_lines(file, encoding, mark, bool(stated)), (0, []))[1]
        except csv.Error as error:
            refused = error
    if refused is not None and all(len(header) < 2 for header in headers.values()):
        raise refused
    return stated, headers


def _lines(file: Path, encoding: str, separator: str, stated: bool) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line with any; of a row that goes over several lines (quoted cells may), the first.

    Raises csv.Error that names the line.
    """
    with file.open(newline="", encoding=encoding) as stream:
        if stated:
            stream.readline()
        csv.field_size_limit(max(csv.field_size_limit(), MOST_CELL))  # one for all of a process
        lines = csv.reader(stream, delimiter=separator, strict=True)
        begins = 1 + stated
        try:
            for row in lines:
                number, begins = begins, lines.line_num + 1 + stated
                if row and (row[0].strip() or any(map(str.strip, row))):
                    yield number, row
        except csv.Error as error:
            raise csv.Error(f"line {begins}: {error}") from None


def _broken(file: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(
        f"data.path: {file} cannot be read as a table ({reason}). Expected a CSV with a header: commas, semicolons or "
        "tabs between cells, quotes closed; or JSON lines, or Parquet."
    )
