"""The files of a form that a request brought, all of them or none: a form that breaks off is an error."""

from __future__ import annotations

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header


class FormError(Exception):
    """A form that cannot be read, or that holds what it should not; the message says what."""


class TooManyFilesError(FormError):
    """More files than there may be."""


def form_files(body: bytes, content_type: str, most: int) -> list[tuple[str, bytes]]:
    """Name (as the sender has it) and bytes of each file in a body of multipart/form-data.

    Raises FormError, and TooManyFilesError as soon as there are more than `most`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise FormError("its Content-Type names no boundary")
    parts = _Parts(most)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_field,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_end": parts.end_all,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise FormError(str(error)) from None
    if not parts.ended:
        raise FormError("it breaks off before its end")
    return parts.files


class _Parts:
    """What the parser has come upon so far."""

    def __init__(self, most: int) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.ended = False
        self._most = most

    def begin(self) -> None:
        if len(self.files) == self._most:
            raise TooManyFilesError(f"there are more than {self._most}")
        self._disposition, self._field, self._value = b"", b"", b""
        self._file = bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def headers_finished(self) -> None:
        self._options = parse_options_header(self._disposition)[1]
        if b"filename" not in self._options:
            raise FormError("a field of it is no file: each part needs a file name")

    def data(self, data: bytes, start: int, end: int) -> None:
        self._file += memoryview(data)[start:end]

    def end(self) -> None:
        self.files.append((self._options[b"filename"].decode("utf-8", "replace"), bytes(self._file)))

    def end_all(self) -> None:
        self.ended = True
