"""`featcache report` on results that are not as tidy as one hopes, and the forms it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import done, featcache
from conftest import TINY, write_digits
from PIL import Image
from playwright.sync_api import Browser, Page
from report_pages import DATA, SCHEDULE, Results, complete, open_browser, opened, write_config

from heads.report import vega_lite

SCRIPT = cache(vega_lite.script)  # seconds to make, and the same for every page
CLOSING = "</script><script>alert(1)</script><b id=x-injected>"  # no folder's name, but one in a summary
Report = Callable[..., Page]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pages here are about their contents: figures as files have tests of their own."""
    monkeypatch.setattr("heads.report.vega_lite.script", SCRIPT)
    if "figures" not in request.fixturenames:
        monkeypatch.setattr(
            "heads.report.report_files.save_figure", lambda spec, folder, name: [folder / f"{name}.png"]
        )


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two Phase 1 runs; a report has been written, so that maps and thumbnails are in the cache."""
    root = tmp_path_factory.mktemp("two runs")
    write_digits(root / DATA, {"train": 8, "val": 6, "test": 4})
    for name, backbone in (("tiny", TINY), ("plain", "networks:without_norms")):
        write_config(root / "configs" / f"{name}.json", root / DATA, backbone, training={"epochs": 2})
    done("train", root / "configs", "--results-dir", root / "results", "--allow-custom", "-q")
    done("report", "--results-dir", root / "results", "-q")
    shutil.rmtree(root / "results" / "figures")
    (root / "results" / "report.html").unlink()
    return Results(root)


@pytest.fixture
def results(two_runs: Results, tmp_path: Path) -> Results:
    """The same for one test alone."""
    shutil.copytree(two_runs.root, tmp_path / "own", dirs_exist_ok=True)
    own = Results(tmp_path / "own")
    for run in ("tiny", "plain"):
        edit(own.folder / run / "summary.json", lambda s: s.update(cache_dir=str(own.cache)))
    return own


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def look(browser: Browser) -> Iterator[Report]:
    """Write the report of a results folder by its command, and open it: it must be whole and not complain."""
    windows = []

    def call(folder: Path, *arguments: str | Path) -> Page:
        done("report", "--results-dir", folder, *arguments)
        window = opened(browser, folder / "report.html")
        watched = window.__enter__()
        windows.append(window)
        complete(watched.page)
        assert watched.complaints == []
        assert watched.page.locator("[data-figure]:not([data-state=drawn])").count() == 0
        return watched.page

    yield call
    for window in windows:
        window.__exit__(None, None, None)


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def train(root: Path, name: str, images: Path, **sections: dict[str, Any]) -> Results:
    config = write_config(root / "configs" / f"{name}.json", images, TINY, **sections)
    done("train", config, "--results-dir", root / "results", "--allow-custom", "-q")
    return Results(root)


def backbones(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("#board tbody th a[data-run]").all_inner_texts()]


def test_the_cache_may_be_gone(results: Results, look: Report) -> None:
    shutil.rmtree(results.cache)
    page = look(results.folder)
    assert "no longer in the cache" in page.locator("#plot-map").inner_text()
    assert len(backbones(page)) == 2 and "most separable" in page.locator("#verdict").inner_text()
    assert page.locator("#mistakes .name").count() > 0
    assert page.locator("#facts dd").count() >= 5
    said = page.locator("#missing-features").inner_text()
    assert said.startswith("The features of 2 feature maps are not at hand (") and "linear CKA" in said
    assert "featcache benchmark" in said and "--cache-dir" in said


def test_markdown_says_what_is_left_out_and_no_figure_of_before_stays(results: Results) -> None:
    shutil.rmtree(results.cache)
    (results.folder / "figures").mkdir(exist_ok=True)
    for name in ("alignment.png", "alignment.svg", "latency_top1.png", "mine.png"):
        (results.folder / "figures" / name).write_text("of before")
    done("report", "--format", "md", "--results-dir", results.folder)
    text = (results.folder / "report.md").read_text()
    assert "not at hand" in text and "CKA" in text and "figures/alignment" not in text
    assert {file.name for file in (results.folder / "figures").iterdir()} == {"latency_top1.png", "mine.png"}


def test_a_tuned_run_shows_the_recipes_that_were_tried(results: Results, look: Report) -> None:
    recipes = [
        {"learning_rate": rate, "weight_decay": 0.01, "normalise": "none", "val_top1": top1}
        for rate, top1 in ((1e-3, 0.25), (3e-3, 0.5))
    ]
    chosen = {name: recipes[1][name] for name in ("learning_rate", "weight_decay", "normalise")}
    tuned = {"recipes": recipes, "chosen": chosen, "diverged": 0}
    edit(results.folder / "tiny" / "summary.json", lambda s: s.update(tuned=tuned))
    page = look(results.folder, "--heads", "all")
    page.locator("#choice").select_option("tiny")
    rows = page.locator("#recipes-table tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [
        ["0.003", "0.01", "none", "0.5000", "chosen"],
        ["0.001", "0.01", "none", "0.2500"],
    ]
    page.locator("#choice").select_option("plain")
    assert page.locator("#recipes").is_hidden()


def test_the_cache_may_be_where_nothing_can_be_made(results: Results, look: Report) -> None:
    """Results that were copied from another machine say where its cache was."""
    (results.root / "file").write_text("")
    for run in ("tiny", "plain"):
        edit(results.folder / run / "summary.json", lambda s: s.update(cache_dir=str(results.root / "file" / "cache")))
    assert len(backbones(look(results.folder))) == 2


def test_a_cache_that_moved_is_named(results: Results, look: Report) -> None:
    results.cache.rename(results.root / "moved")
    page = look(results.folder, "--cache-dir", results.root / "moved")
    assert page.locator("#plot-map g.mark-symbol.role-mark path").count() == 4 * (8 + 6 + 4)
    assert not results.cache.exists()


def test_a_damaged_store_costs_its_map_and_no_more(results: Results, look: Report) -> None:
    broken = next(results.cache.glob("conftest*.h5"))
    broken.write_bytes(broken.read_bytes()[:2000])
    shutil.rmtree(results.cache / "maps")
    page = look(results.folder)
    page.locator("#choice").select_option("tiny")
    assert "no longer in the cache" in page.locator("#plot-map").inner_text()
    page.locator("#choice").select_option("plain")
    page.locator("#plot-map[data-state=drawn]").wait_for()


def test_images_may_be_gone_once_they_were_seen(results: Results, look: Report) -> None:
    first = look(results.folder).locator("#mistakes img")
    assert first.count() > 0
    sources = first.evaluate_all("all => all.map(i => i.src)")
    shutil.rmtree(results.root / "<")
    again = look(results.folder)
    assert again.locator("#mistakes img").evaluate_all("all => all.map(i => i.src)") == sources


def test_images_that_were_never_seen_leave_their_names(results: Results, look: Report) -> None:
    # The store knows the images where they were extracted: in the folder that all tests of this file share.
    for file in results.cache.glob("thumbnails.sqlite*"):
        file.unlink()
    manifest = json.loads((results.folder / "tiny" / "summary.json").read_text())["data"]["path"]
    hidden = Path(manifest).with_name("hidden")
    Path(manifest).rename(hidden)
    try:
        page = look(results.folder)
    finally:
        hidden.rename(manifest)
    assert page.locator("#mistakes img").count() == 0
    assert "no picture here" in page.locator("#mistakes").inner_text()
    assert page.locator("#mistakes .name").first.inner_text().startswith("val/")


@pytest.mark.parametrize("file", ["summary.json", "performance.json"])
@pytest.mark.parametrize("content", [b"{", b"{}", b"\xff\xfe"])
def test_a_damaged_run_is_passed_over(results: Results, file: str, content: bytes) -> None:
    (results.folder / "tiny" / file).write_bytes(content)
    found = featcache("report", "--results-dir", results.folder)
    assert found.exit_code == 0, f"{found.output}{found.exception!r}"
    page = results.report.read_text()
    assert "networks:without_norms" in page and TINY not in page


@pytest.mark.parametrize(
    "file", ["predictions.npz", "metrics.csv", "options.json", "environment.json", "best_model.pth"]
)
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "gone"])
def test_a_damaged_file_of_a_run_leaves_out_what_it_held(results: Results, file: str, damage: str) -> None:
    path = results.folder / "tiny" / file
    content = {"empty": b"", "cut": path.read_bytes()[: path.stat().st_size // 2], "text": b"\xff\xfe no,such\n1"}
    path.unlink()
    if damage in content:
        path.write_bytes(content[damage])
    found = featcache("report", "--results-dir", results.folder)
    assert found.exit_code == 0, f"{found.output}{found.exception!r}"
    assert {"tiny", "plain"} == set(read_data(results.report)["runs"])


def read_data(report: Path) -> dict[str, Any]:
    text = report.read_text().partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    value: dict[str, Any] = json.loads(text)
    return value


def said_of_mistakes(page: Page) -> str:
    return page.locator("#mistakes").inner_text().strip()


def test_what_is_missing_of_a_run_is_said(results: Results, look: Report) -> None:
    for file in ("predictions.npz", "metrics.csv", "options.json"):
        (results.folder / "tiny" / file).unlink()
    page = look(results.folder)
    page.locator("#choice").select_option("tiny")
    assert said_of_mistakes(page) != "None."  # nobody knows whether there were any
    assert "No predictions" in page.locator("#plot-calibration").inner_text()
    assert page.locator("#facts dd").count() >= 5


def test_groups_that_straddle_are_told_with_and_without(results: Results, look: Report) -> None:
    """Of runs that say so; earlier versions knew no groups."""
    done("report", "--results-dir", results.folder)
    assert 'id="straddling"' not in results.report.read_text()
    one = {"top1": 0.75, "top3": 1.0, "groups": 2, "example": "val/0/000.png of 'P1'"}
    val = {**one, "leaked": 5, "n_without": 19, "top1_without": 0.625, "top3_without": 0.875}
    test = {**one, "leaked": 16, "n_without": 0, "top1_without": None, "top3_without": None}
    edit(results.folder / "tiny" / "summary.json", lambda s: s.update(group_leakage={"val": val, "test": test}))
    edit(results.folder / "plain" / "summary.json", lambda s: s.pop("group_leakage"))
    page = look(results.folder)
    assert 'id="straddling"' in results.report.read_text()
    warning = page.locator("#verdict .warning", has_text="Groups in several splits").inner_text()
    assert "5 of 24 validation images and 16 of 16 test images" in warning
    table = page.get_by_role("region", name="images of groups that straddle")
    rows = [row.split() for row in table.locator("tbody tr").all_inner_texts()]
    cells = ["0.7500", "0.6250", "1.0000,", "0.8750", "0.7500", "–", "1.0000,", "–"]
    assert rows == [["tiny", *cells]]
    done("report", "--format", "md", "--results-dir", results.folder)
    text = (results.folder / "report.md").read_text()
    assert "Of a group that was trained on or chosen by: 5 of 24 validation images, 16 of 16 test images." in text
    assert "| tiny | 0.7500 | 0.6250 | 1.0000, 0.8750 | 0.7500 | – | 1.0000, – |" in text


def test_latencies_of_different_machines_are_not_compared(results: Results, look: Report) -> None:
    """One front would call the run on the faster machine better."""
    page = look(results.folder)
    (same,) = {p["conditions"] for p in latency_points(results.report)}
    assert same in page.locator("#figure-latency_top3 figcaption").inner_text()
    assert same in page.locator("#leaderboard").inner_text() and same in page.locator("#facts").inner_text()
    assert page.locator("#latency .warning").count() == 0
    assert page.locator("[data-figure=latency_top3] g.mark-line path").count() == 1

    def elsewhere(performance: dict[str, Any]) -> None:
        performance.update(device="another machine", precision="bfloat16")

    edit(results.folder / "plain" / "performance.json", elsewhere)
    page = look(results.folder)
    assert {p["front"] for p in latency_points(results.report)} == {"yes"}  # each is alone on its own
    warning = page.locator("#latency .warning").inner_text()
    assert "2 different conditions" in warning and "another machine, bfloat16" in warning and same in warning
    assert "front of its own" in page.locator("#figure-latency_top1 figcaption").inner_text()
    for figure in ("latency_top3", "macs_latency"):
        shapes = page.locator(f"[data-figure={figure}] g.mark-symbol.role-mark path")
        corners = {"A" in str(shapes.nth(i).get_attribute("d")) for i in range(shapes.count())}  # arcs make circles
        assert corners == {True, False}, figure
    assert "measured on" in page.locator("#board thead").inner_text()
    row = page.locator("#board tbody tr", has_text="plain")
    assert "another machine" in row.inner_text()


def latency_points(report: Path) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = read_data(report)["figures"]["latency_top3"]["data"]["values"]
    return points


def test_other_folders_in_results_are_left_alone(results: Results, look: Report) -> None:
    (results.folder / "notes").mkdir()
    (results.folder / "sweeps" / "broken").mkdir(parents=True)
    (results.folder / "sweeps" / "broken" / "sweep.json").write_text("{")
    (results.folder / "audit").mkdir()
    fingerprint = results.summary("tiny")["data"]["fingerprint"]
    (results.folder / "audit" / f"x-{fingerprint[:8]}.json").write_text("{")
    page = look(results.folder)
    assert len(backbones(page)) == 2
    assert page.locator("#sweeps").count() == 0
    assert "No audit of this data yet" in page.locator("#audit").inner_text()


def test_one_run_is_enough(results: Results, look: Report) -> None:
    shutil.rmtree(results.folder / "plain")
    page = look(results.folder)
    assert backbones(page) == [TINY]
    assert "1 run" in page.locator("header").inner_text() and "1 runs" not in page.locator("header").inner_text()
    assert page.locator("#verdict .answer").inner_text()
    page.locator("#run").scroll_into_view_if_needed()
    page.locator("#plot-map[data-state=drawn]").wait_for()


def test_a_class_of_the_worst_name_is_text(results: Results, look: Report) -> None:
    for run in ("tiny", "plain"):

        def rename(summary: dict[str, Any]) -> None:
            summary["classes"][0] = CLOSING
            for split in ("val", "test"):
                summary["per_class"][split][0]["class"] = CLOSING

        edit(results.folder / run / "summary.json", rename)
        edit(results.folder / run / "options.json", lambda o: o.update(experiment_name=CLOSING))
    (results.folder / "tiny").rename(results.folder / "<b id=x-injected>")
    page = look(results.folder)
    page.locator("#run").scroll_into_view_if_needed()
    page.locator("#plot-map[data-state=drawn]").wait_for()
    assert page.locator("#x-injected").count() == 0 and page.locator("script").count() == 5
    assert CLOSING in page.locator("#confusion tbody").inner_text()
    assert CLOSING in (page.locator("#options").text_content() or "")
    page.locator("#choice").select_option("<b id=x-injected>")
    assert "<b id=x-injected>" in page.locator("#board").inner_text()


def test_two_classes(tmp_path: Path, look: Report) -> None:
    images = write_digits(tmp_path / "digits", {"train": 6, "val": 4, "test": 3}, classes=2)
    page = look(train(tmp_path, "two", images).folder)
    assert page.locator("#confusion tbody tr").count() == 2
    assert "2 classes" in page.locator("header").inner_text()


def test_sixty_classes(tmp_path: Path, look: Report) -> None:
    rng = np.random.default_rng(0)
    images = tmp_path / "colours"
    for label in range(60):
        for split, count in (("train", 3), ("val", 2), ("test", 1)):
            folder = images / split / f"colour number {label:02d}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = (rng.integers(0, 60, (36, 36, 3)) + rng.integers(0, 190, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    results = train(tmp_path, "sixty", images, training={"epochs": 2})
    page = look(results.folder)
    table = page.locator("#confusion table.pairs")
    matrix = results.summary("sixty")["confusion"]["val"]
    most = max(n for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j)
    assert table.locator("tbody tr").count() == 20
    assert table.locator("tbody tr").first.locator("td").last.inner_text() == str(most)
    recalls = page.locator("#confusion table.recall tbody tr").evaluate_all(
        "rows => rows.map(r => [r.cells[0].textContent, ...[1, 2].map(i => Number(r.cells[i].textContent))])"
    )
    classes = results.summary("sixty")["per_class"]["val"]
    assert sorted(recalls) == [[c["class"], c["n"], round(c["recall"], 3)] for c in classes]
    assert [r[2] for r in recalls] == sorted(r[2] for r in recalls)
    box = page.locator("#confusion").bounding_box()
    assert box and box["height"] < 450  # it scrolls
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.locator("#run").scroll_into_view_if_needed()
    points = page.locator("#plot-map g.mark-symbol.role-mark path")
    points.first.wait_for(state="attached")
    assert points.count() == 360
    assert results.report.stat().st_size < 6e6


def test_only_runs_of_phase_2(tmp_path: Path, look: Report) -> None:
    images = write_digits(tmp_path / "digits", {"train": 6, "val": 4, "test": 3})
    training = {"epochs": 3, "seeds": [0], "unfreeze_schedule": SCHEDULE}
    config = write_config(tmp_path / "configs" / "end.json", images, "networks:four_stages", training=training)
    done("finetune", config, "--results-dir", tmp_path / "results", "--allow-custom", "-q")
    page = look(tmp_path / "results")
    assert backbones(page) == ["networks:four_stages"]
    assert page.locator("#separability").count() == 0
    assert page.locator("#phase2 [data-curve=end] g.mark-line").count() > 0
    assert page.locator("#verdict p").count() > 0  # an empty verdict is no answer
    assert page.locator("#mistakes .name").count() > 0


def test_markdown_with_its_figures(results: Results, figures: None) -> None:
    done("report", "--format", "md", "--results-dir", results.folder)
    assert not results.report.exists()
    text = (results.folder / "report.md").read_text()
    assert text.startswith("# ")
    assert "not at hand" not in text
    for name in ("latency_top3", "latency_top1", "macs_latency"):
        assert f"](figures/{name}.png)" in text
        assert (results.folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (results.folder / "figures" / f"{name}.svg").read_text().startswith("<svg")


@pytest.fixture
def figures() -> None:
    """Of the tests that look at figures as files."""


def test_open_shows_the_page(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: shown.append(url) or True)
    assert "no browser" not in done("report", "--open", "--results-dir", results.folder).output
    assert shown == [results.report.resolve().as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert "open the file by hand" in done("report", "--open", "--results-dir", results.folder).output


def test_open_has_nothing_to_show_of_markdown(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail("was opened"))
    refused = featcache("report", "--open", "--format", "md", "--results-dir", results.folder)
    assert refused.exit_code == 2
    assert "--open" in refused.output and "Traceback" not in refused.output
    assert not (results.folder / "report.md").exists()


def test_nothing_to_report(tmp_path: Path) -> None:
    refused = featcache("report", "--results-dir", tmp_path)
    assert refused.exit_code == 2
    assert "holds no finished run" in " ".join(refused.output.split())


def test_the_same_results_give_the_same_page(results: Results) -> None:
    """But for the time of writing."""

    def page() -> tuple[str, dict[str, Any]]:
        done("report", "--results-dir", results.folder, "-q")
        return results.report.read_text().partition("<main>")[0].partition("test images")[0], read_data(results.report)

    assert page() == page()


def test_a_report_keeps_to_its_own_files(results: Results) -> None:
    def others() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in results.root.rglob("*") if p.is_file() and p.parent != results.folder}

    before = others()
    done("report", "--results-dir", results.folder, "-q")
    after = others()
    assert {p: b for p, b in after.items() if p in before} == before
    assert {p.name for p in after.keys() - before.keys()} <= {"thumbnails.sqlite"} | {
        p.name for folder in ("maps", "alignment") for p in (results.cache / folder).glob("*.json")
    }
