"""The images of one request: files of a form, or base64 in JSON, within the limits; never a path or an address."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
from collections.abc import Iterator

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from featcache.places import BytesPlace, NoPlace
from heads.predict import AskedImage
from heads.serve.answer_models import NAME_LENGTH, legible
from heads.serve.form_files import FormError, TooManyFilesError, form_files

FORM, JSON = "multipart/form-data", "application/json"
LINGER_S = 5.0  # that what is too large is read on, so that its sender gets to read why it was refused
UNNAMED = "image"
LEAST_BYTES = 65_536  # that a request counts as, however small
ERRORS = 3  # of JSON, that are told


class JsonImage(BaseModel):
    """An image's bytes as base64."""

    model_config = ConfigDict(strict=True, extra="forbid")
    data: str
    name: str = UNNAMED


class JsonImages(BaseModel):
    """The body of a request in JSON."""

    model_config = ConfigDict(strict=True, extra="forbid")
    images: list[JsonImage]


class BodyRoom:
    """How many bytes of requests may be in memory; used by the event loop alone."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[bool]:
        """Room for so many bytes inside the block; false where there is none."""
        size = max(size, LEAST_BYTES)
        there = size <= self._free
        self._free -= size if there else 0
        try:
            yield there
        finally:
            self._free += size if there else 0


class LimitedBody:
    """The messages of a request's body; raises HTTPException 413 once they are more than so many bytes."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._bytes = 0
        self.complete = False

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        self.complete = not message.get("more_body", False)
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most:
            await self.drain()
            raise too_large(self._most)
        return message

    async def drain(self) -> None:
        """Read on for a while, and keep nothing: else the connection is reset, and its sender reads no answer."""
        end = time.monotonic() + LINGER_S
        with contextlib.suppress(TimeoutError):
            while not self.complete and time.monotonic() < end:
                message = await asyncio.wait_for(self._receive(), LINGER_S)
                self.complete = not message.get("more_body", False)


async def drain(request: Request, body: LimitedBody) -> None:
    """Let a refused body come to its end; one that waits to be asked for (Expect: 100-continue) is not."""
    if "expect" not in request.headers:
        await body.drain()


def too_large(most: int) -> HTTPException:
    """What is said of a body beyond the limit."""
    return HTTPException(413, f"The request is larger than {most / 1e6:g} MB (--max-mb).")


def declared_bytes(request: Request, most: int) -> int:
    """What the request says its body has; where it says nothing, the largest that is read."""
    length = request.headers.get("content-length")
    return int(length) if length is not None and length.isdecimal() else most


async def images_of(request: Request, most: int) -> list[AskedImage]:
    """The images of a request, at most `most`: raises HTTPException with what is wrong with it. An image whose base64
    is broken is one that cannot be read."""
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        images = await run_in_threadpool(_of_form, await request.body(), content_type, most)
    elif kind == JSON:
        images = await run_in_threadpool(_of_json, await request.body())
    else:
        raise HTTPException(415, f"Content-Type {kind[:60] or '(none)'}: expected {FORM} or {JSON}.")
    if not images:
        raise HTTPException(422, "There is no image in the request.")
    if len(images) > most:
        raise _too_many(most)
    return images


def _of_form(body: bytes, content_type: str, most: int) -> list[AskedImage]:
    try:
        files = form_files(body, content_type, most)
    except TooManyFilesError:
        raise _too_many(most) from None
    except FormError as error:
        raise HTTPException(400, f"The form cannot be read: {error}.") from None
    return [AskedImage(name, BytesPlace(name, data)) for name, data in ((_named(n), d) for n, d in files)]


def _of_json(body: bytes) -> list[AskedImage]:
    try:
        found = JsonImages.model_validate_json(body)
    except ValidationError as error:
        raise _json_fault(error) from None
    return [_from_base64(_named(one.name), one.data) for one in found.images]


def _from_base64(name: str, data: str) -> AskedImage:
    try:
        return AskedImage(name, BytesPlace(name, base64.b64decode(data, validate=True)))
    except (binascii.Error, ValueError) as error:  # ValueError: of characters beyond ASCII
        return AskedImage(name, NoPlace(name, f"its base64 cannot be read: {error}"))


def _json_fault(error: ValidationError) -> HTTPException:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        return HTTPException(400, f"The body is no JSON: {faults[0]['msg']}.")
    told = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'body'}: {f['msg']}" for f in faults[:ERRORS])
    return HTTPException(
        422, f'{told}. Expected {{"images": [{{"name": "a.jpg", "data": "<base64>"}}]}}, and nothing else.'
    )


def _too_many(most: int) -> HTTPException:
    return HTTPException(413, f"There are more than {most} images in the request (--queue). Send them in several.")


def _named(name: str) -> str:
    return legible(name)[:NAME_LENGTH] or UNNAMED
