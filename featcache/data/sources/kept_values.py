"""Values that are dear to make, kept up to a limit and made once, whichever threads ask for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Kept:
    """What was made last, by key, up to so many bytes or entries; each is made once, whoever asks for it."""

    def __init__(self, most: int, size: Callable[[Any], int]) -> None:
        self._most, self._size = most, size
        self._held: OrderedDict[Any, Any] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[Any, threading.Lock] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is kept under `key`, made if need be."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._held:
                    return self._held[key]
            try:
                value = make()
            except BaseException:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:  # in one go: who comes between finds either the value or whoever makes it
                self._making.pop(key, None)
                self._held[key] = value
                self._bytes += self._size(value)
                while self._bytes > self._most and len(self._held) > 1:
                    _, old = self._held.popitem(last=False)
                    self._bytes -= self._size(old)
            return value
