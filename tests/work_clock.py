"""A clock that runs ahead by what work is said to cost, so that times can be foretold and compared without waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

IMAGE = 1.0  # seconds of an image in a module that costs


class WorkClock:
    """`time.perf_counter` within a test: the real one, whose milliseconds are little beside the work that is added."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch, self._lock, self._ahead = monkeypatch, threading.Lock(), 0.0
        real = time.perf_counter
        monkeypatch.setattr(time, "perf_counter", lambda: real() + self._ahead)

    def work(self, seconds: float) -> None:
        """So much was done."""
        with self._lock:
            self._ahead += seconds

    def costs(self, where: Any, name: str, seconds: float) -> None:
        """Every call of this function costs so much more."""
        plain: Callable[..., Any] = getattr(where, name)

        def run(*arguments: Any, **keywords: Any) -> Any:
            self.work(seconds)
            return plain(*arguments, **keywords)

        self._monkeypatch.setattr(where, name, run)

    def images_cost(self, module: type[nn.Module], seconds: float = IMAGE) -> None:
        """Every image that goes through modules of a kind costs so much, and twice that on its way back."""
        plain: Callable[..., Any] = module.forward

        def forward(one: nn.Module, x: Any) -> Any:
            out = plain(one, x)
            if isinstance(out, Tensor) and not torch.jit.is_tracing():
                self.work(seconds * len(out))
                if out.requires_grad:
                    out.register_hook(lambda gradient: self.work(2 * seconds * len(gradient)))
            return out

        self._monkeypatch.setattr(module, "forward", forward)
