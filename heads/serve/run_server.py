"""A finished run becomes a server: its predictor, warm, the batches, the application, and what serves it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.session import Session
from heads.predict import load_predictor
from heads.runs import Run
from heads.serve.batched_predictor import BatchedPredictor
from heads.serve.http_server import HttpServer
from heads.serve.neighbour_pictures import neighbour_pictures
from heads.serve.serve_options import ServeOptions
from heads.serve.serving_metrics import ServingMetrics
from heads.serve.web_app import make_app

log = logging.getLogger("featcache")


@contextmanager
def serving(
    run: Run, session: Session, options: ServeOptions, *, cache_dir: Path | None = None, calibrated: bool = True
) -> Iterator[HttpServer]:
    """A server of a run's model, ready to be run on a socket; its threads end with the block.

    Raises what `load_predictor` does, and WeightsError at once: the network is built before the first request.
    """
    predictor = load_predictor(
        run, session, cache_dir=cache_dir, calibrated=calibrated, images_a_pass=options.max_batch
    )
    predictor.warm_up()
    if predictor.space is not None and 0 < options.false_alarms < predictor.space.least_rate:
        log.warning(
            "nothing is flagged as unlike the training images: so few validation images vouch for --false-alarms %.3f "
            "or more",
            predictor.space.least_rate,
        )
    metrics = ServingMetrics()
    batched = BatchedPredictor(
        predictor,
        max_batch=options.max_batch,
        max_wait_s=options.max_wait_ms / 1000,
        places=options.queue,
        seen=metrics.saw_batch,
    )
    try:
        pictures = neighbour_pictures(run, predictor.space, cache_dir)
        yield HttpServer(make_app(batched, options, metrics, pictures), options)
    finally:
        batched.stop()
