"""The columns of the leaderboard: what a row says of a run."""

from __future__ import annotations

from dataclasses import dataclass

from heads.leaderboard.compared_run import ComparedRun
from heads.leaderboard.measure_agreement import MEASURES


@dataclass(frozen=True)
class Row:
    """One line of leaderboard.csv; accuracies are fractions, latencies milliseconds, macs those of one image."""

    rank: int  # shared by runs that cannot be told apart
    backbone: str
    weights: str
    features: int
    val_top1: float
    val_top1_std: float
    val_top3: float
    val_top3_std: float
    test_top1: float
    test_top3: float
    latency_ms: float
    latency_p95_ms: float
    macs: int
    params: int  # of backbone and head
    images_per_second: float  # of the full model's forward passes at data.batch_size
    head_seconds: float
    phase: int
    run: str
    val_top1_low: float  # the 95% interval of val_top1, over seeds and images
    val_top1_high: float
    val_top3_low: float
    val_top3_high: float
    from_run: str  # of Phase 2: the run whose model was fine-tuned; "" where there is none
    gain_top1: float | None  # val_top1 less that of from_run, with its 95% interval; None where that is not here
    gain_top1_low: float | None
    gain_top1_high: float | None
    gain_top3: float | None
    gain_top3_low: float | None
    gain_top3_high: float | None
    linear_probe: float | None  # from here on: separability of the cached features, of Phase 1 (featcache.separability)
    knn_accuracy: float | None
    centroid_accuracy: float | None
    logme: float | None
    h_score: float | None
    fisher_ratio: float | None
    silhouette: float | None
    effective_rank: float | None


def make_row(rank: int, one: ComparedRun, start: ComparedRun | None) -> Row:
    """`start` is the run that a Phase 2 run came from, where it is among those compared."""
    run = one.run
    val, test, performance = run.summary["val"], run.summary["test"], run.performance
    return Row(
        rank=rank,
        backbone=run.summary["backbone"],
        weights=run.summary["weights"],
        features=run.summary["features"],
        val_top1=val["top1"]["mean"],
        val_top1_std=val["top1"]["std"],
        val_top3=val["top3"]["mean"],
        val_top3_std=val["top3"]["std"],
        test_top1=test["top1"]["mean"],
        test_top3=test["top3"]["mean"],
        latency_ms=performance["latency_ms"]["mean"],
        latency_p95_ms=performance["latency_ms"]["p95"],
        macs=performance["macs"],
        params=performance["params_backbone"] + performance["params_head"],
        images_per_second=performance["images_per_second"],
        head_seconds=performance["head_seconds"],
        phase=run.summary["phase"],
        run=run.folder.name,
        val_top1_low=val["top1"]["ci95"][0],
        val_top1_high=val["top1"]["ci95"][1],
        val_top3_low=val["top3"]["ci95"][0],
        val_top3_high=val["top3"]["ci95"][1],
        from_run=one.from_run,
        **_gain(one, start, "top1"),
        **_gain(one, start, "top3"),
        **{name: (run.summary["separability"] or {}).get(name) for name in MEASURES},
    )


def _gain(one: ComparedRun, start: ComparedRun | None, metric: str) -> dict[str, float | None]:
    """What fine-tuning brought in a metric of val, with its 95% interval, as the columns of a row."""
    names = (f"gain_{metric}", f"gain_{metric}_low", f"gain_{metric}_high")
    if start is None:
        return dict.fromkeys(names)
    figures = (one.mean(metric) - start.mean(metric), *one.lead(start, metric))
    return dict(zip(names, figures, strict=True))
