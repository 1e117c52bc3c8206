"""Figures, sweeps, and the short form: every figure can be drawn, and says what it is made from."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vl_convert
from command_runs import done
from PIL import Image
from report_pages import IMAGE, MARKDOWN, NETWORKS, PHASE2, Results, results_for

from featcache.errors import FeatcacheError
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.ranked_results import rank_results
from heads.leaderboard.ranking import leaderboard
from heads.report import charts_latency, charts_run, charts_sweep, figure_files, figures, point_names, vega_lite
from heads.report.page_tables import leaderboard_cells, leakage_rows, separability_rows
from heads.report.report_contents import Contents, collect
from heads.report.sweep_results import MOST_TRIALS, Sweep, Trial, load_sweeps, shown
from heads.runs.run import finished_runs


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_for(tmp_path_factory)


@pytest.fixture(scope="module")
def contents(results: Results) -> Contents:
    return collect(rank_results(results.folder))


def fingerprint(results: Results) -> str:
    return str(results.summary("tiny")["data"]["fingerprint"])


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["data"]["values"]
    return found


def specs(contents: Contents) -> dict[str, dict[str, Any]]:
    """The figures that compare runs, by name."""
    return {one.name: one.spec for _, one in figures.draw(contents).drawn}


def compiled(spec: dict[str, Any], **sets: Any) -> dict[str, Any]:
    """As Vega understands it; raises where it does not."""
    found: dict[str, Any] = vl_convert.vegalite_to_vega(
        json.dumps({**spec, "datasets": sets}), vl_version=vega_lite.VERSION
    )
    return found


def test_the_front_is_what_nobody_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [(float(a), float(b)) for a, b in rng.integers(0, 6, (12, 2))]  # equal ones too
        front = charts_latency.front(points)
        for i, (ms, accuracy) in enumerate(points):
            beaten = any((a <= ms and b > accuracy) or (a < ms and b >= accuracy) for a, b in points)
            assert (i in front) != beaten
    assert charts_latency.front([]) == set()
    assert charts_latency.front([(1.0, 1.0)]) == {0}


def test_every_overview_figure_compiles_and_holds_its_rows(contents: Contents) -> None:
    found = specs(contents)
    assert {"latency_top3", "latency_top1", "latency_split", "macs_latency", "gains"} < set(found)
    for name, spec in found.items():
        assert compiled(spec)["marks"], name
        assert spec["description"]
    by_run = {row.run: row for row in contents.rows}
    for metric in ("top1", "top3"):
        points = {p["run"]: p for p in values(found[f"latency_{metric}"])}
        assert set(points) == set(by_run)
        for run, point in points.items():
            row = by_run[run]
            assert point["accuracy"] == pytest.approx(getattr(row, f"val_{metric}"), abs=1e-5)
            assert point["latency"] == pytest.approx(row.latency_ms, abs=1e-3)
            assert point["low"] <= point["accuracy"] <= point["high"]
    (gain,) = values(found["gains"])
    assert gain["run"] == PHASE2
    shares = values(found["latency_split"])
    for name in NETWORKS.values():
        parts = {s["part"]: s["ms"] for s in shares if s["backbone"] == name}
        assert set(parts) == {"preprocess", "backbone", "head"} and all(ms > 0 for ms in parts.values())


def test_names_never_lie_over_each_other_nor_stand_twice_at_one_place() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 5, 60):
        places = [(float(x), float(y), f"network_{i % 9}") for i, (x, y) in enumerate(rng.random((count, 2)))]
        found = point_names.names(places, 12, 400)
        written = [(place, one) for place, one in zip(places, found, strict=True) if one["name"]]
        assert found[0]["name"] == "network_0"  # the first one matters most
        assert 1 <= len(written) <= 12
        boxes = []
        for (x, y, name), one in written:
            assert one["name"] == name
            left = x * 400 + one["dx"] - {"left": 0, "center": 3 * len(name), "right": 6 * len(name)}[one["align"]]
            boxes.append((left, (1 - y) * vega_lite.HEIGHT + one["dy"], 6 * len(name)))
        for i, (left, top, long) in enumerate(boxes):
            for other, above, wide in boxes[:i]:
                assert abs(top - above) >= 11 or left >= other + wide or other >= left + long
    twins = point_names.names([(0.5, 0.5, "a"), (0.5, 0.51, "a"), (0.5, 0.5, "b")], 12, 400)
    assert [one["name"] for one in twins] == ["a", "", "b"]


def test_runs_measured_differently_have_fronts_of_their_own(contents: Contents) -> None:
    rows = [row for row in contents.rows if row.phase == 1]
    for measured in (
        {row.run: "here" for row in rows},
        {row.run: "here" if i % 2 else "there" for i, row in enumerate(rows)},
    ):
        points = values(charts_latency.latency_accuracy(rows, "top1", measured))
        for point in points:
            alike = [p for p in points if p["conditions"] == point["conditions"]]
            beaten = any(
                p["latency"] <= point["latency"] and p["accuracy"] >= point["accuracy"]
                and (p["latency"], p["accuracy"]) != (point["latency"], point["accuracy"])
                for p in alike
            )  # fmt: skip
            assert (point["front"] == "yes") != beaten


def test_two_runs_of_one_backbone_are_two_bars(contents: Contents) -> None:
    """A backbone with other weights is another feature map: their times are not added up in one bar."""
    first = next(row for row in contents.rows if row.phase == 1)
    rows = tuple(
        replace(row, backbone=first.backbone, weights=f"W{i}") for i, row in enumerate(contents.rows) if row.phase == 1
    )
    twins = replace(contents, board=Leaderboard(rows, (), (), {}, {row.run: (row.run,) for row in rows}))
    shares = values(specs(twins)["latency_split"])
    assert len({(s["backbone"], s["part"]) for s in shares}) == len(shares)


def test_the_figures_of_a_run_compile_with_and_without_data() -> None:
    one = {"epoch": 0, "curve": "val", "mean": 0.5, "low": 0.4, "high": 0.6}
    stage = {"epoch": 1, "label": "layer4", "what": "layer4, head"}
    assert compiled(charts_run.curves([("val_top1", "val")], "validation top-1"), points=[one], stages=[stage])
    point = {"x": 1, "y": 2, "class": MARKDOWN, "image": "3"}
    assert compiled(charts_run.feature_map([MARKDOWN, IMAGE]), points=[point])
    assert compiled(charts_run.feature_map([str(i) for i in range(60)]), points=[])
    assert compiled(charts_run.calibration(), points=[{"confidence": 0.5, "accuracy": 0.5, "n": 3}])


def sweep(count: int = 12, **changes: Any) -> Sweep:
    def trial(i: int) -> Trial:
        options = {"a.rate": f"{10.0 ** -(i % 5)}", "a.kind": "xyz"[i % 3], "a.only": "" if i % 2 else "4"}
        return Trial(i, "complete", ((i * 7 % 12) / 12, float(i)), options, {})

    made = Sweep(
        name="s",
        objectives=("val_top1", "macs"),
        larger=(True, False),
        sampler="tpe",
        trials=tuple(map(trial, range(count))),
        history=tuple((i, (i / 12, 0.0)) for i in range(count)),
        importances={"a.rate": 0.7, "a.kind": 0.3},
        best=({"trial": 1, "options": {}, "values": [1]},),
        data="d",
    )
    return replace(made, **changes)


@pytest.mark.parametrize("count", [1, 2, 12, 500])
def test_every_figure_of_a_sweep_compiles(count: int) -> None:
    one = sweep(count)
    for spec in (
        charts_sweep.best_so_far(one, 0),
        charts_sweep.best_so_far(one, 1),
        charts_sweep.importance(one),
        charts_sweep.parallel_coordinates(one),
        charts_sweep.sweep_front(one),
    ):
        assert compiled(spec)["marks"]


def test_of_many_trials_the_best_and_some_of_the_rest_are_drawn() -> None:
    for count in (3, MOST_TRIALS, MOST_TRIALS + 1, 2 * MOST_TRIALS, 5 * MOST_TRIALS + 7):
        for larger in (True, False):
            trials = tuple(Trial(i, "complete", (float(i),), {}, {}) for i in range(count))
            chosen = shown((*trials, Trial(count, "failed", (), {}, {})), larger)
            numbers = [t.number for t in chosen]
            assert numbers == sorted(numbers, reverse=not larger)  # the best last
            assert len(numbers) == len(set(numbers)) <= MOST_TRIALS, count
            assert numbers[-1] == (count - 1 if larger else 0)
            if count <= MOST_TRIALS:
                assert len(numbers) == count
    assert shown((), True) == []


def test_sweeps_are_read_as_they_were_written(results: Results) -> None:
    one, two = load_sweeps(results.folder / "sweeps", fingerprint(results))
    assert (one.name, one.objectives, two.objectives) == ("one", ("val_top1",), ("val_loss", "params"))
    assert len(one.trials) == len(two.trials) == 8
    assert one.chosen[0].startswith("best val top-1") and "Pareto front has no single best" in two.chosen[0]
    assert set(one.importances) <= {"training.learning_rate", "model.dropout", "training.optimizer"}
    best = [b for _, (b,) in one.history if b is not None]
    assert best == sorted(best) and best[-1] == max(t.values[0] for t in one.trials if t.values)
    front = {b["trial"] for b in two.best}
    drawn = {p["trial"]: p for p in values(charts_sweep.sweep_front(two))}
    assert {t for t, p in drawn.items() if p["front"] == "on the Pareto front"} == front
    for trial, point in drawn.items():
        beaten = any(
            q["a"] <= point["a"] and q["b"] <= point["b"] and (q["a"], q["b"]) != (point["a"], point["b"])
            for q in drawn.values()
        )
        assert (trial in front) <= (not beaten)


@pytest.mark.parametrize("file", ["sweep.json", "trials.csv", "history.csv"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"trial\nx\n", b"{}", b"[]"])
def test_a_damaged_sweep_is_passed_over(results: Results, tmp_path: Path, file: str, content: bytes | None) -> None:
    shutil.copytree(results.folder / "sweeps", tmp_path / "sweeps")
    damaged = tmp_path / "sweeps" / "one" / file
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    found = {s.name: s for s in load_sweeps(tmp_path / "sweeps", fingerprint(results))}
    assert "two" in found
    if "one" in found:  # an empty table is a sweep without trials
        assert not found["one"].trials or not found["one"].history


def test_a_sweep_of_an_earlier_version_says_nothing_of_chance(results: Results, tmp_path: Path) -> None:
    shutil.copytree(results.folder / "sweeps", tmp_path / "sweeps")
    file = tmp_path / "sweeps" / "one" / "sweep.json"
    document = json.loads(file.read_text())
    del document["chosen"]
    file.write_text(json.dumps(document))
    one, _ = load_sweeps(tmp_path / "sweeps", fingerprint(results))
    assert one.chosen == () and one.best


def test_a_figure_becomes_a_vector_file_and_a_picture(contents: Contents, tmp_path: Path) -> None:
    spec = specs(contents)["latency_top3"]
    svg, png = figure_files.save_figure(spec, tmp_path / "new folder", "latency")
    text = svg.read_text()
    assert text.startswith("<svg") and "</svg>" in text and TINY_NAME in text
    picture = Image.open(png)
    assert picture.format == "PNG" and picture.width > 2 * figure_files.FILE_WIDTH * 0.8
    pixels = np.array(picture.convert("RGB"))
    assert tuple(pixels[0, 0]) == (255, 255, 255) and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    fixed = json.dumps({**spec, "width": figure_files.FILE_WIDTH, "background": "white"})
    drawn_from_it = vl_convert.vegalite_to_png(fixed, vl_version=vega_lite.VERSION, scale=2)
    assert png.read_bytes() == drawn_from_it  # though it was drawn from the SVG


TINY_NAME = "conftest:tiny_backbone"


def test_a_figure_that_cannot_be_saved_is_an_error_for_people(contents: Contents, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("no folder")
    with pytest.raises(FeatcacheError, match="figures"):
        figure_files.save_figure(specs(contents)["latency_top3"], tmp_path / "figures", "latency")


def test_the_script_ends_no_element_early() -> None:
    text = vega_lite.script()
    assert "vegaEmbed" in text and not re.search("</script|<!--", text)


def test_scales_are_logarithmic_where_values_span_much() -> None:
    assert vega_lite.scale([1, 20])["type"] == "log"
    for plain in ([1, 2], [0, 20], [-1, 20], []):
        assert "type" not in vega_lite.scale(plain)


def test_the_leaderboard_has_a_cell_for_every_row(contents: Contents) -> None:
    columns = leaderboard_cells(contents)
    titles = [c.title for c in columns]
    assert len(titles) == len(set(titles)) and {"rank", "val top-1", "gain top-1", "probe", "run"} <= set(titles)
    for column in columns:
        assert len(column.cells) == len(contents.rows) and column.meaning
    runs = next(c for c in columns if c.title == "run")
    assert [c.text for c in runs.cells] == [row.run for row in contents.rows]
    rates = next(c for c in columns if c.title == "val top-1")
    for cell, row in zip(rates.cells, contents.rows, strict=True):
        assert cell.text == f"{row.val_top1:.3f} [{row.val_top1_low:.3f}, {row.val_top1_high:.3f}]"
        assert cell.key == row.val_top1


def test_separability_is_in_order_of_agreement(contents: Contents) -> None:
    rows = separability_rows(contents)
    known = [r.agreement.tau for r in rows if r.agreement]
    assert len(known) >= 5 and known == sorted(known, reverse=True)
    for row in rows:
        assert len(row.values) == len(NETWORKS)
        if row.best is not None:
            assert float(row.values[row.best]) == max(float(v) for v in row.values if v)


def test_leakage_is_told_of_every_run(contents: Contents) -> None:
    assert [row.run for row in leakage_rows(contents, contents.leakage)] == [row.run for row in contents.rows]


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line.strip().strip("|"))


def test_markdown_holds_together(results: Results, tmp_path: Path) -> None:
    shutil.copytree(results.folder, tmp_path / "results")
    for run in ("tiny", "nested"):
        file = tmp_path / "results" / run / "summary.json"
        summary = json.loads(file.read_text())
        summary["backbone"], summary["weights"] = "a|b `c` <i>d</i>", "[w](http://x) *v* \\| u"
        summary["data"]["path"] = "/data/# <b>|`x`\nnext"
        file.write_text(json.dumps(summary))
    done("report", "--format", "md", "--results-dir", tmp_path / "results", "-q")
    text = (tmp_path / "results" / "report.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    board = lines[: len(NETWORKS) + 1 + 2]
    assert len(board) == len(NETWORKS) + 3
    assert {len(cells(line)) for line in board} == {len(cells(board[0]))}
    assert all(re.fullmatch(r"\s*-+:?\s*", cell) for cell in cells(board[1]))
    twice = [row for row in leaderboard(finished_runs(tmp_path / "results")).rows if row.backbone == NETWORKS["stages"]]
    assert len(twice) == 2  # one of them fine-tuned; both say which run they are
    for row in twice:
        assert sum(row.run.replace("_", r"\_") in cells(line)[1] for line in board) >= 1
    bare = re.sub(r"\\.", "", text)
    assert not re.search(r"<[a-z/]|`|\]\(http", bare)
    assert r"a\|b \`c\` \<i\>d\</i\>" in text
    files = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(files) >= 5
    for file in files:
        assert (tmp_path / "results" / file).read_bytes().startswith(b"\x89PNG")
    for row in leaderboard(finished_runs(tmp_path / "results")).rows:
        assert f"{row.val_top1:.3f} [{row.val_top1_low:.3f}, {row.val_top1_high:.3f}]" in text
