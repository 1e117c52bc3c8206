"""featcache: stage one and two only, a head on frozen features; 50 epochs, however much time there is."""

from __future__ import annotations

import tempfile

from peer_job import Answers, Job, main
from tool_featcache import run


def train(job: Job, epochs: int) -> Answers:
    """A head needs a small part of the time."""
    with tempfile.TemporaryDirectory() as folder:
        return run(job, folder, {"epochs": epochs})


if __name__ == "__main__":
    main(train, fixed=50)
