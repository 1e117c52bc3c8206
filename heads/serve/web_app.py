"""The web application: what each address answers."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from featcache.errors import WorkError
from heads.serve.answer_models import Answers, Fault, Health, image_answer, why_none
from heads.serve.batched_predictor import Answer, BatchedPredictor, NoRoomError
from heads.serve.drop_page import DropPage
from heads.serve.gate import RETRY_S, Gate
from heads.serve.neighbour_pictures import NeighbourPictures
from heads.serve.request_images import (
    FORM,
    JSON,
    BodyRoom,
    JsonImages,
    LimitedBody,
    declared_bytes,
    drain,
    images_of,
    too_large,
)
from heads.serve.serve_options import ServeOptions
from heads.serve.serving_metrics import ServingMetrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"  # of Prometheus
DAY = "private, max-age=86400"  # a training image's picture does not change

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            JSON: {"schema": JsonImages.model_json_schema()},
        },
    }
}
# What else POST /predict says. `model` is how FastAPI is told of a schema.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "The body is no JSON, or no form."},
    401: {"model": Fault, "description": "The token is missing or wrong."},
    408: {"model": Fault, "description": "The request did not arrive in time."},
    413: {"model": Fault, "description": "The request, or the number of its images, is too large."},
    415: {"model": Fault, "description": "The body is neither a form nor JSON."},
    422: {"model": Answers, "description": "None of the images can be read; or what is asked for makes no sense."},
    500: {"model": Fault, "description": "The model failed."},
    503: {"model": Fault, "description": "Too much waits already; Retry-After says when to try again."},
    504: {"model": Fault, "description": "There was no answer in time."},
}


def make_app(
    batched: BatchedPredictor, options: ServeOptions, metrics: ServingMetrics, pictures: NeighbourPictures | None
) -> Gate:
    """The application, behind its gate."""
    app = FastAPI(title="featcache serve", version="1", docs_url=None, redoc_url=None)  # whose pages need a CDN
    _add_predict(app, _Predicting(batched, options, metrics))
    _add_pages(app, batched, options, pictures)
    metrics.watch_queue(lambda: batched.inside)

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        told = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return JSONResponse({"detail": f"{told}."}, 422)  # in words, as every other refusal

    @app.get("/metrics", response_class=Response, summary="Figures for Prometheus")
    async def figures() -> Response:
        return Response(metrics.text(), media_type=TEXT)

    return Gate(app, options, metrics)


def _add_predict(app: FastAPI, predicting: _Predicting) -> None:
    @app.post(
        "/predict",
        response_model=Answers,
        response_model_by_alias=True,
        responses=REFUSALS,
        openapi_extra=BODY,
        summary="What images are",
    )
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, description="How many likely classes of each image.")] = 5,
        neighbours: Annotated[int, Query(ge=0, le=20, description="How many of the nearest training images.")] = 0,
    ) -> Any:
        return await predicting(request, top, neighbours)


def _add_pages(
    app: FastAPI, batched: BatchedPredictor, options: ServeOptions, pictures: NeighbourPictures | None
) -> None:
    run = batched.predictor.name
    page = DropPage(run, options)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def front() -> HTMLResponse:
        return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})

    @app.get("/healthz", response_model=Health, summary="Whether requests are answered")
    async def health() -> Health:
        return Health(status="ok", run=run if options.token is None else "")

    @app.get("/neighbours/{number}.jpg", response_class=Response, summary="A training image's picture")
    async def neighbour(number: int) -> Response:
        picture = None if pictures is None else await run_in_threadpool(pictures.picture, number)
        if picture is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": DAY})


class _Predicting:
    """POST /predict: a request's images in, their answers out, within the time and the room there is."""

    def __init__(self, batched: BatchedPredictor, options: ServeOptions, metrics: ServingMetrics) -> None:
        self._batched, self._options, self._metrics = batched, options, metrics
        self._room = BodyRoom(options.max_bodies_bytes)

    async def __call__(self, request: Request, top: int, neighbours: int) -> Response | Answers:
        begin = time.monotonic()
        body = LimitedBody(request.receive, self._options.max_bytes)
        size = declared_bytes(request, self._options.max_bytes)
        if size > self._options.max_bytes:
            await drain(request, body)
            raise too_large(self._options.max_bytes)
        with self._room.taken(size) as there:
            if not there:
                await drain(request, body)
                raise _busy()
            try:
                async with asyncio.timeout(self._options.timeout_s):
                    answers = await self._answers(Request(request.scope, body), neighbours)
            except TimeoutError:
                raise self._late(body.complete) from None
            except WorkError as error:
                raise HTTPException(500, str(error)) from None
            except ClientDisconnect:
                return Response(status_code=400)  # that nobody reads
        images = [image_answer(a, self._batched.predictor, top, self._options.false_alarms) for a in answers]
        bad, seconds = sum(one.error is not None for one in images), time.monotonic() - begin
        self._metrics.saw_prediction(len(images) - bad, bad, seconds)
        found = Answers(run=self._batched.predictor.name, images=images, seconds=seconds, detail=why_none(images))
        return found if found.detail is None else JSONResponse(found.model_dump(by_alias=True), 422)

    async def _answers(self, request: Request, neighbours: int) -> list[Answer]:
        images = await images_of(request, self._batched.places)
        try:
            waiting = self._batched.submit(images, neighbours)
        except NoRoomError:
            raise _busy() from None
        return await asyncio.gather(*map(asyncio.wrap_future, waiting))

    def _late(self, arrived: bool) -> HTTPException:
        limit = f"{self._options.timeout_s:g} s (--timeout-s)"
        if not arrived:
            return HTTPException(408, f"The request did not arrive within {limit}.", {"Connection": "close"})
        return HTTPException(504, f"There was no answer within {limit}.")


def _busy() -> HTTPException:
    return HTTPException(503, "Too much waits already.", {"Retry-After": str(RETRY_S)})
