"""Contents become report.html, one file that needs nothing else: template, style, script, data and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from featcache.audit import PageView, page_views
from featcache.counted_nouns import counted, nouns
from heads.leaderboard import Row, deployed_ways, stand_ins_text, tie_text
from heads.report import vega_lite
from heads.report.charts_latency import latency_measured
from heads.report.figures import RUN_FIGURES, Overview, draw_sweep
from heads.report.missing_features import missing_features
from heads.report.page_images import Images
from heads.report.page_style import page_style
from heads.report.page_tables import (
    condition,
    conditions,
    leaderboard_cells,
    leakage_rows,
    leaked_splits,
    separability_rows,
)
from heads.report.phase2_changes import phase2_changes
from heads.report.provenance import provenance_of
from heads.report.redundancy_tables import confused_rows, pair_rows, wrong_images
from heads.report.report_contents import Contents
from heads.report.run_details import Point
from heads.report.tried_recipes import tried_recipes
from heads.report.use_of_run import use_of_run
from heads.runs import Run

HERE = Path(__file__).parent / "assets"
SCRIPTS = ("report_base.js", "report_board.js", "report_run.js")  # each takes from those before
MATRIX = 20  # classes: of more a confusion matrix is no longer read, and the pairs most often confused are listed
PAIRS = 20  # of them, at most
WHOLE = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}  # of the run's facts
LINES = 4  # that the labels of unfreezing are spread over


def render(contents: Contents, overview: Overview) -> str:
    """The page, with the `overview` of these contents. Every name that comes from users is escaped: in text by the
    template, in data by JSON."""
    images = Images(contents.manifest, contents.audit.contents if contents.audit is not None else {})
    sweeps = [(sweep, list(draw_sweep(sweep, number))) for number, sweep in enumerate(contents.sweeps)]
    every = [*(one for _, one in overview.drawn), *(one for _, drawn in sweeps for one in drawn)]
    findings = _findings(contents, images)
    wrong = wrong_images(contents, _classes(contents))
    changes = phase2_changes(contents, _classes(contents))
    images.numbers([*(one.name for one in wrong), *(one.name for change in changes for one in change.images)])
    data = {
        "figures": {
            **{one.name: one.spec for one in every},
            **{one.name: one.make(_classes(contents)) for one in RUN_FIGURES},
        },
        "classes": _classes(contents),
        "runs": {row.run: _run(contents, row, images) for row in contents.rows},
        "mapImages": images.numbers(image.name for image in contents.map_images),
        "maps": {key: asdict(one) for key, one in contents.maps.items()},
        "images": images.entries(contents.cache_dir),
    }
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(counted=counted, nouns=nouns)
    return environment.get_template("report.html.j2").render(
        contents=contents,
        board=contents.board,
        stand_ins=stand_ins_text(contents.board),
        tie=tie_text(contents.board),
        first=contents.runs[contents.rows[0].run],
        use=use_of_run(contents.runs[contents.rows[0].run]),
        columns=leaderboard_cells(contents),
        conditions=sorted(set(conditions(contents).values())),
        latency=latency_measured(contents),
        leakage=leakage_rows(contents, contents.leakage),
        leaked_splits=leaked_splits(contents.leakage),
        group_leakage=leakage_rows(contents, contents.group_leakage),
        group_splits=leaked_splits(contents.group_leakage),
        separability=separability_rows(contents),
        missing_features=missing_features(contents),
        pairs=pair_rows(contents),
        confused=confused_rows(contents, _classes(contents)),
        wrong=wrong,
        figures=overview.sections,
        changes=changes,
        tuned=[row for row in contents.rows if row.phase == 2],
        sweeps=sweeps,
        findings=findings,
        number=images.number,
        audited=images.audited,
        provenance=provenance_of(contents),
        style=page_style(),
        scripts=[Markup((HERE / name).read_text(encoding="utf-8")) for name in SCRIPTS],
        vega=Markup(vega_lite.script()),
        data=_json(data),
    )


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
        "recipes": tried_recipes(summary),
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
        *((f"deployed, batch {one.images}", one.said()) for one in deployed_ways(run.folder)),
        ("compute", f"{row.macs / 1e9:.3f} GMACs, {row.params / 1e6:.2f} M parameters"),
        *origin(run),
        ("seeds", f"{len(run.summary['seeds'])}"),
        ("images", ", ".join(f"{n} {split}" for split, n in data["images"].items())),
    ]
    told = _by_class(row, run.summary["per_class"]["val"])
    if told:
        facts.insert(2, ("validation, by class", told))
    if row.from_run:
        facts.append(("comes from run", row.from_run))
    facts += taught_by(run)
    facts += [("recipe", line) for line in contents.recipe_notes.get(row.run, ())]
    return facts


def origin(run: Run) -> list[tuple[str, str]]:
    """The epoch that its head is of; of a combination its members by weight, and what is to be said of it."""
    combined = run.summary.get("combination")
    if (soup := run.summary.get("soup")) is not None:
        taken = ", ".join(one["run"] for one in soup["members"] if one["taken"])
        return [("weights averaged of", taken), *(("soup", line) for line in soup["said"])]
    if combined is None:
        epoch = run.best_epoch if run.best_epoch >= 0 else "none: the start"
        return [("best epoch", f"{epoch} of seed {run.summary['best_seed']}")]
    members = sorted(combined["members"], key=lambda one: -one["weight"])
    named = ", ".join(f"{one['run']} {one['weight']:.2f}" for one in members)
    return [("members, by weight", named), *(("combination", line) for line in combined["said"])]


def taught_by(run: Run) -> list[tuple[str, str]]:
    """Of a student what it learned from, and how."""
    one = run.summary.get("distillation")
    if one is None:
        return []
    if run.summary.get("soup") is not None:
        return [("learned from", f"{one['teacher']}, as those of its members did that had a teacher")]
    unseen = f"training images answered by heads of {one['out_of_fold']} folds" if one["out_of_fold"] else "as it is"
    said = f"{one['teacher']}, temperature {one['temperature']:g}, weight {one['weight']:g}, {unseen}"
    more = f", and {counted(one['unlabelled'], 'image')} without label" if one["unlabelled"] else ""
    return [("learned from", said + more)]


def _by_class(row: Row, classes: Sequence[Mapping[str, Any]]) -> str:
    """The figures that are means over classes, and over which, where some have no image; AUROC takes two of them."""
    there = sum(one["n"] > 0 for one in classes)
    figures = {words: row.value(f"val_{m}") for m, words in WHOLE.items() if m != "auroc" or there > 1}
    told = ", ".join(f"{words} {value:.4f}" for words, value in figures.items() if isinstance(value, float))
    if told and there < len(classes):
        without = [one["class"] for one in classes if not one["n"]]
        told += f"; over {there} of {counted(len(classes), 'class')}, no images of {', '.join(without[:LINES])}"
        told += f" and {len(without) - LINES} more" if len(without) > LINES else ""
    return told


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


def _findings(contents: Contents, images: Images) -> list[PageView]:
    """What the audit found, once its pictures are numbered; nothing where there is none."""
    views = page_views(contents.audit) if contents.audit is not None else []
    for view in views:
        for name in view.images:
            images.audited(name)
    return views


def _json(value: Any) -> Markup:
    """JSON that a script element may hold: no `<` opens or closes anything in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)
