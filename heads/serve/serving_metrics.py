"""What Prometheus reads of a server: requests, images, batches, latency, and how many images wait."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServingMetrics:
    """The figures of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter("featcache_requests", "Requests by path and status.", ("path", "status"), registry=own)
        self._images = Counter("featcache_images", "Images by what became of them.", ("outcome",), registry=own)
        self._batches = Histogram("featcache_batch_images", "Images of a batch.", buckets=BATCHES, registry=own)
        self._seconds = Histogram(
            "featcache_predict_seconds",
            "Seconds of POST /predict that was answered with 200.",
            buckets=SECONDS,
            registry=own,
        )
        self._queue = Gauge("featcache_queue_images", "Images accepted and not answered yet.", registry=own)

    def watch_queue(self, images: Callable[[], int]) -> None:
        """Ask this for the images in the queue, whenever the figures are read."""
        self._queue.set_function(images)

    def saw_batch(self, images: int) -> None:
        """A batch goes through the network."""
        self._batches.observe(images)

    def saw_request(self, path: str, status: int) -> None:
        """A request was answered; `path` is one of few."""
        self._requests.labels(path, str(status)).inc()

    def saw_prediction(self, predicted: int, unreadable: int, seconds: float) -> None:
        """Images of a request were answered."""
        self._images.labels("predicted").inc(predicted)
        self._images.labels("unreadable").inc(unreadable)
        if predicted:
            self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)
