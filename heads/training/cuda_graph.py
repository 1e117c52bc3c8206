"""A step of training captured in a CUDA graph: launched as one, with nothing left for the CPU to do in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

EAGER_STEPS = 3  # before the capture: libraries allocate in their first calls, which a capture does not allow


@lru_cache
def side_streams(device: torch.device, count: int) -> tuple[torch.cuda.Stream, ...]:
    """Streams to work on beside the current one, the same each time: cuBLAS keeps a workspace for every stream that it
    has met, 32 MiB on an H200."""
    return tuple(torch.cuda.Stream(device) for _ in range(count))


class CapturedStep:
    """Does a step on tensors of the same shapes each time, from the fourth time on by replaying the graph.

    The step is given with each call and not kept: it is a method of whoever holds this, and the two would keep each
    other, and all the memory of the device that they hold, until Python looks for such circles.
    """

    def __init__(self) -> None:
        self._inputs: list[Tensor] = []  # the graph reads these addresses
        self._eager = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._output = torch.empty(0)
        self._stream = side_streams(torch.device("cuda", torch.cuda.current_device()), 1)[0]

    def __call__(self, step: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Do `step` on a copy of `inputs`; returns before the device has done it, what the next call overwrites."""
        if not self._inputs:
            self._inputs = [torch.empty(i.shape, dtype=i.dtype, device=i.device) for i in inputs]
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        if self._graph is not None:
            self._graph.replay()
            return self._output
        if self._eager < EAGER_STEPS:  # real steps of the training, on a stream of their own as a capture wants it
            self._eager += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                output = step(*self._inputs)
            torch.cuda.current_stream().wait_stream(self._stream)
            output.record_stream(torch.cuda.current_stream())
            return output
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):  # records, does not run
            self._output = step(*self._inputs)
        self._graph.replay()
        return self._output
