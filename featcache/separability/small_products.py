"""Small matrix products on one thread: handing them to several takes longer than the products themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def few_threads(multiply_adds: int, most: int) -> Iterator[None]:
    """One BLAS thread within, where a product takes `most` multiply-adds or fewer; all threads where it takes more.

    BLAS wakes its threads for every product, and they spin between them: where anything else runs on the machine, a fit
    of thousands of small products takes fifty times as long. By the size of the work, not by what happens to be free,
    so that equal features give equal bits. It holds for the whole process.
    """
    if multiply_adds > most:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
