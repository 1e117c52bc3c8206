"""The tables of `featcache profile`: each way to run a network, each provider of an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from featcache.profiling import OnnxMeasurement, WayMeasurement


def onnx_table(found: Sequence[OnnxMeasurement]) -> Table:
    """A row for each provider and batch size, in milliseconds."""
    table = _table("provider", "device", "threads", "batch", "mean ms", "p50", "p95", "p99", "images/s", "")
    for one in found:
        ms = one.latency_ms
        figures = [f"{value:.2f}" for value in (ms.mean, ms.p50, ms.p95, ms.p99)]
        rate = f"{ms.batch_size / ms.mean * 1e3:.1f}"
        note = "the machine was busy" if one.busy else ""
        table.add_row(one.provider, one.device, str(one.threads), str(ms.batch_size), *figures, rate, note)
    return table


def ways_table(found: Sequence[WayMeasurement]) -> Table:
    """A row for each way and batch, by batch; the fastest of each is marked."""
    columns = ["batch", "way", "mean ms", "p95", "passes", "images/s", "logits off by"]
    watched = any(one.card is not None for one in found)
    table = _table(*columns, *(("W", "J/image", "MHz", "°C") if watched else ()), "")
    fastest = {n: min(one.latency_ms.mean for one in found if one.way.batch_size == n) for n in _batches(found)}
    for one in sorted(found, key=lambda one: one.way.batch_size):
        ms = one.latency_ms
        notes = {
            "fastest": ms.mean == fastest[one.way.batch_size],
            "throttled": one.card is not None and bool(one.card.throttled),
            "the machine was busy": one.busy,
        }
        figures = [f"{ms.mean:.2f}", f"{ms.p95:.2f}", str(ms.iterations), f"{one.images_per_second:.1f}"]
        row = [str(ms.batch_size), one.way.name, *figures, f"{one.difference:.1g}"]
        if watched:
            row += ["", "", "", ""]
        if one.card is not None:
            clocks = f"{one.card.sm_mhz[0]:.0f}-{one.card.sm_mhz[1]:.0f}"
            row[-4:] = [f"{one.card.watts:.0f}", f"{one.joules_per_image:.3g}", clocks, f"{one.card.celsius:.0f}"]
        table.add_row(*row, ", ".join(note for note, true in notes.items() if true))
    return table


def _batches(found: Sequence[WayMeasurement]) -> list[int]:
    return sorted({one.way.batch_size for one in found})


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in ("provider", "device", "way", "") else "right")
    return table
