"""Contents become one HTML file that needs nothing else: style, script, data and pictures are inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from heads.leaderboard import Row
from heads.report import charts_overview, charts_run, charts_sweep, vega
from heads.report.page_images import Images
from heads.report.page_tables import (
    AUDIT_MOST,
    MeasureRow,
    condition,
    conditions,
    leaderboard_cells,
    leakage_rows,
    leaked_splits,
    separability_rows,
)
from heads.report.report_contents import Contents
from heads.report.run_conditions import provenance_of
from heads.report.run_details import Point
from heads.report.sweep_results import Sweep

HERE = Path(__file__).parent / "assets"
MATRIX = 20  # classes: of more a confusion matrix is no longer read, and the pairs most often confused are listed
PAIRS = 20  # of them, at most
SHARES = 30  # bars of the latency by part
LINES = 4  # that the labels of unfreezing are spread over
Spec = dict[str, Any]


def render(contents: Contents) -> str:
    """The page. Every name that comes from users is escaped: in text by the template, in data by JSON."""
    images = Images(contents.manifest)
    figures = overview_figures(contents)
    sweeps = [_sweep(sweep, place, figures) for place, sweep in enumerate(contents.sweeps)]
    audit = _audit(contents, images)
    measured = separability_rows(contents)
    different = sorted(set(conditions(contents).values()))
    data = {
        "figures": {**figures, **_run_figures(contents)},
        "classes": _classes(contents),
        "runs": {row.run: _run(contents, row, images) for row in contents.rows},
        "mapImages": images.numbers(image.name for image in contents.map_images),
        "maps": {key: asdict(one) for key, one in contents.maps.items()},
        "images": images.entries(contents.cache_dir),
    }
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        contents=contents,
        board=contents.board,
        first=contents.runs[contents.rows[0].run],
        columns=leaderboard_cells(contents),
        conditions=different,
        latency="mean of one pass" + (f" on {different[0]}" if len(different) == 1 else ", conditions differ"),
        leakage=leakage_rows(contents),
        leaked_splits=leaked_splits(contents),
        measures=[(one.name, one.title, _tau(one)) for one in measured if f"separability_{one.name}" in figures],
        separability=measured,
        figures=figures,
        tuned=[row for row in contents.rows if row.phase == 2],
        sweeps=sweeps,
        audit=audit,
        provenance=provenance_of(contents),
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "report.js").read_text(encoding="utf-8")),
        vega=Markup(vega.script()),
        data=_json(data),
    )


def overview_figures(contents: Contents) -> dict[str, Spec]:
    """The figures that compare runs, by name."""
    rows, maps, measured = contents.rows, contents.board.feature_maps, conditions(contents)
    figures = {
        "latency_top3": charts_overview.latency_accuracy(rows, "top3", measured),
        "latency_top1": charts_overview.latency_accuracy(rows, "top1", measured),
        "latency_split": charts_overview.latency_split(_shares(contents), list(measured.values())),
        "macs_latency": charts_overview.macs_latency(maps or rows, measured),
    }
    figures |= {f"separability_{name}": spec for name, spec in charts_overview.separability(maps).items()}
    gained = [row for row in rows if row.gain_top1 is not None]
    if gained:
        figures["gains"] = charts_overview.gains(gained)
    return figures


def _shares(contents: Contents) -> list[dict[str, Any]]:
    """Milliseconds by part of the best feature maps."""
    found = []
    rows = (contents.board.feature_maps or contents.rows)[:SHARES]
    names = [row.backbone for row in rows]
    for row in rows:
        performance = contents.runs[row.run].performance
        for order, part in enumerate(("preprocess", "backbone", "head")):
            latency = performance.get(f"{part}_ms")  # preprocessing is not known where no image could be timed
            if latency is not None:
                name = row.backbone if names.count(row.backbone) == 1 else f"{row.backbone} ({row.run})"
                found.append({"backbone": name, "part": part, "ms": round(latency["mean"], 3), "order": order})
    return found


def _run_figures(contents: Contents) -> dict[str, Spec]:
    """The figures that the page fills with the data of the run that is chosen."""
    return {
        "run_map": charts_run.feature_map(_classes(contents)),
        "run_loss": charts_run.curves([("train_loss", "train"), ("val_loss", "val")], "loss"),
        "run_top1": charts_run.curves([("val_top1", "val")], "validation top-1"),
        "run_calibration": charts_run.calibration(),
    }


def _classes(contents: Contents) -> list[str]:
    classes: list[str] = contents.runs[contents.rows[0].run].summary["classes"]
    return classes


def _run(contents: Contents, row: Row, images: Images) -> dict[str, Any]:
    """What the page shows of one run when it is chosen."""
    run, one = contents.runs[row.run], contents.details[row.run]
    summary = run.summary
    later = [stage for stage in summary["stages"] if stage["epoch"] > 0]
    names = {"train_loss": "train", "val_loss": "val", "val_top1": "val"}
    return {
        "backbone": row.backbone,
        "weights": row.weights,
        "phase": row.phase,
        "map": contents.map_of.get(row.run),
        "facts": _facts(contents, row),
        "classes": summary["per_class"],
        "confusion": {split: _confusion(summary["confusion"][split], summary["classes"]) for split in ("val", "test")},
        "curves": [
            [p.curve, names[p.curve], p.epoch, round(p.mean, 5), round(p.low, 5), round(p.high, 5)] for p in one.curves
        ],
        "stages": [_stage(stage, one.curves, line) for line, stage in enumerate(later)],
        "calibration": None
        if one.calibration is None
        else {
            "error": round(one.calibration.error, 4),
            "bins": [[round(b.confidence, 4), round(b.accuracy, 4), b.n] for b in one.calibration.bins],
        },
        "mistakes": [[images.number(m.image), m.label, m.predicted, round(m.probability, 3)] for m in one.mistakes],
        "options": json.dumps(one.options, indent=1, ensure_ascii=False),
    }


def _facts(contents: Contents, row: Row) -> list[tuple[str, str]]:
    run = contents.runs[row.run]
    data = run.summary["data"]
    facts = [
        ("validation top-1", f"{row.val_top1:.4f} [{row.val_top1_low:.4f}, {row.val_top1_high:.4f}]"),
        ("validation top-3", f"{row.val_top3:.4f} [{row.val_top3_low:.4f}, {row.val_top3_high:.4f}]"),
        ("test top-1, top-3", f"{row.test_top1:.4f}, {row.test_top3:.4f}"),
        ("latency", f"{row.latency_ms:.2f} ms (p95 {row.latency_p95_ms:.2f}), {condition(run.performance)}"),
        ("compute", f"{row.macs / 1e9:.3f} GMACs, {row.params / 1e6:.2f} M parameters"),
        ("best epoch", f"{run.best_epoch} of seed {run.summary['best_seed']}"),
        ("seeds", f"{len(run.summary['seeds'])}"),
        ("images", ", ".join(f"{n} {split}" for split, n in data["images"].items())),
    ]
    if row.from_run:
        facts.append(("comes from run", row.from_run))
    return facts


def _stage(stage: Mapping[str, Any], curves: Sequence[Point], line: int) -> dict[str, Any]:
    """From which epoch on what trains; a label short enough for a figure, whether it is in its right half, and in
    which of LINES it is written, so that neighbours do not hide each other."""
    last = max((point.epoch for point in curves), default=0)
    blocks = [b for b in stage["blocks"] if b != "head"]
    what = ", ".join(stage["blocks"])
    label = f"{blocks[0]} on" if len(blocks) > 1 else (blocks[0] if blocks else "head")
    scale = "" if stage["lr_scale"] == 1 else f", rate x {stage['lr_scale']:g}"
    return {
        "epoch": stage["epoch"],
        "label": label + scale,
        "what": what + scale,
        "late": 2 * stage["epoch"] > last,
        "line": line % LINES,
    }


def _confusion(matrix: list[list[int]], classes: list[str]) -> dict[str, Any]:
    """Counts `[true][predicted]`, or of many classes the pairs that are confused most."""
    if len(classes) <= MATRIX:
        return {"matrix": matrix}
    pairs = [(n, i, j) for i, line in enumerate(matrix) for j, n in enumerate(line) if n and i != j]
    return {"pairs": sorted(pairs, key=lambda p: -p[0])[:PAIRS]}


def _sweep(sweep: Sweep, place: int, figures: dict[str, Spec]) -> dict[str, Any]:
    """Adds a sweep's figures; returns what the template says of it."""
    names = []

    def add(name: str, title: str, spec: Spec) -> None:
        figures[f"sweep{place}_{name}"] = spec
        names.append((f"sweep{place}_{name}", title))

    if any(t.values for t in sweep.trials):
        for number, objective in enumerate(sweep.objectives):
            add(f"best{number}", f"Best {objective} so far", charts_sweep.best_so_far(sweep, number))
        if len(sweep.objectives) > 1:
            add("front", "Pareto front", charts_sweep.sweep_front(sweep))
        if sweep.importances:
            add("importance", f"Importance for {sweep.objectives[0]}", charts_sweep.importance(sweep))
        add("parallel", "Trials as lines through their options", charts_sweep.parallel_coordinates(sweep))
    return {"sweep": sweep, "figures": names}


def _audit(contents: Contents, images: Images) -> dict[str, Any] | None:
    """The audit with the numbers of its pictures; the most serious of long lists."""
    audit = contents.audit
    if audit is None:
        return None

    def group(one: Any) -> dict[str, Any]:
        return {"group": one, "images": [(images.number(i.name), i) for i in one.images]}

    def serious(groups: Any) -> list[Any]:
        return sorted(groups, key=lambda g: (not g.conflicting_labels, not g.across_splits))

    return {
        "audit": audit,
        "most": AUDIT_MOST,
        "exact": [group(g) for g in serious(audit.exact)[:AUDIT_MOST]],
        "near": [group(g) for g in serious(audit.near)[:AUDIT_MOST]],
        "suspects": [(images.number(s.name), s) for s in audit.suspects[:AUDIT_MOST]],
        "outliers": [(images.number(o.name), o) for o in audit.outliers[: AUDIT_MOST // 2]],
    }


def _tau(one: MeasureRow) -> str:
    found = one.agreement
    return f"tau {found.tau:z.2f} [{found.low:z.2f}, {found.high:z.2f}]" if found is not None else ""


def _json(value: Any) -> Markup:
    """JSON that a script element may hold: no `<` opens or closes anything in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)
