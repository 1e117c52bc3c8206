"""report.html as a reader meets it: real runs, in a real browser."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page
from report_pages import (
    CLASSES,
    DATA,
    FILE,
    IMAGE,
    MARKDOWN,
    NETWORKS,
    PHASE2,
    SCRIPT,
    Results,
    Watched,
    complete,
    open_browser,
    opened,
    results_for,
)

ROWS = len(NETWORKS) + 1


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_for(tmp_path_factory)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def whole(browser: Browser, results: Results) -> Iterator[Watched]:
    """The page on a desk with all its figures, which tests look at and leave as it is."""
    with opened(browser, results.report) as watched:
        complete(watched.page)
        yield watched


@pytest.fixture
def page(browser: Browser, results: Results) -> Iterator[Page]:
    """The page for one test alone, which may do with it what it likes, but not make it complain."""
    with opened(browser, results.report) as watched:
        yield watched.page
        assert watched.complaints == []


@pytest.fixture(scope="module")
def pointed(browser: Browser, results: Results) -> Iterator[Page]:
    """The page with all its figures, which tests point at one after another."""
    with opened(browser, results.report) as watched:
        complete(watched.page)
        yield watched.page
        assert watched.complaints == []


@pytest.fixture(scope="module")
def phone(browser: Browser, results: Results) -> Iterator[Page]:
    """The same on a phone, which they tap on."""
    device: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    with opened(browser, results.report, **device) as watched:
        complete(watched.page)
        yield watched.page
        assert watched.complaints == []


def shown(page: Page) -> list[str]:
    """The runs that the leaderboard shows, from top to bottom."""
    return page.locator("#board tbody tr:visible a[data-run]").evaluate_all("links => links.map(a => a.dataset.run)")


def drawn(page: Page, place: str) -> Locator:
    """The plot in `place` once it is drawn."""
    page.locator(f"{place}[data-state=drawn]").wait_for()
    return page.locator(place)


def symbols(plot: Locator) -> Locator:
    return plot.locator("g.mark-symbol.role-mark path")


def hover(page: Page, point: Locator) -> Locator:
    """What hovering `point` shows. The page must have come to rest: scrolling hides it."""
    point.scroll_into_view_if_needed()
    page.wait_for_timeout(50)
    point.hover(force=True)
    tip = page.locator("#tip")
    tip.wait_for()
    return tip


def column(page: Page, title: str) -> list[str]:
    """The cells below a heading of the leaderboard."""
    titles = page.locator("#board thead th").all_inner_texts()
    place = [t.strip() for t in titles].index(title)
    return page.locator("#board tbody tr").evaluate_all("(rows, i) => rows.map(r => r.cells[i].textContent)", place)


def choose(page: Page, run: str) -> None:
    page.locator("#choice").select_option(run)


def test_the_best_row_leads_to_the_commands_that_go_on_from_it(page: Page, results: Results) -> None:
    links = page.locator("#board a[href='#use']")
    assert links.count() == 1
    links.click()
    best = page.locator("#board tbody tr").first.locator("a[data-run]").get_attribute("data-run")
    commands = page.locator("#use code").all_inner_texts()
    assert commands[0].startswith(f"featcache predict {shlex.quote(str(results.report.parent / str(best)))} ")
    assert [command.split()[1] for command in commands] == ["predict", "serve", "export"]  # it is fine-tuned already
    assert page.locator("#use").is_visible()


def test_the_page_has_no_complaint_and_asks_for_nothing(whole: Watched, results: Results) -> None:
    whole.page.wait_for_load_state("networkidle")
    assert whole.complaints == []
    outside = [url for url in whole.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [results.report.resolve().as_uri()]


def test_every_figure_is_drawn(whole: Watched) -> None:
    places = whole.page.locator("[data-figure], [data-curve]")
    names = places.evaluate_all("places => places.map(p => p.dataset.figure || p.dataset.curve)")
    wanted = {"latency_top3", "latency_top1", "latency_split", "macs_latency", "gains", PHASE2}
    wanted |= {"separability_linear_probe", "separability_logme", "separability_effective_rank"}
    wanted |= {f"sweep0_{n}" for n in ("best0", "importance", "parallel", "way")}
    wanted |= {f"sweep1_{n}" for n in ("best0", "best1", "front", "parallel", "way")}
    assert wanted <= set(names)
    empty = places.evaluate_all(
        """places => places.filter(p => p.dataset.state !== "drawn" || ![...p.querySelectorAll("svg g.role-mark path")]
            .some(m => { const box = m.getBoundingClientRect(); return box.width + box.height > 2; }))
            .map(p => p.dataset.figure || p.dataset.curve)"""
    )
    assert empty == []
    assert symbols(whole.page.locator("[data-figure=latency_top3]")).count() == ROWS
    assert symbols(whole.page.locator("[data-figure=separability_logme]")).count() == len(NETWORKS)
    assert symbols(whole.page.locator("[data-figure=sweep1_front]")).count() == 8


def test_figures_have_names_for_those_who_do_not_see_them(whole: Watched) -> None:
    labels = whole.page.locator("[data-state=drawn]").evaluate_all("places => places.map(p => p.ariaLabel)")
    assert all(labels), labels
    assert any("Latency against validation top-3" in label for label in labels)


def test_no_figure_is_cut_or_squeezed(whole: Watched) -> None:
    """A plot is as wide as its place, and the axes take most of it."""
    narrow = whole.page.locator("[data-state=drawn]").evaluate_all(
        """places => places.map(p => {
            const axes = p.querySelector("g.role-frame path.background").getBoundingClientRect().width;
            return [p.dataset.figure || p.dataset.curve || p.id, p.querySelector("svg").getBoundingClientRect().right
                - p.getBoundingClientRect().right, axes / p.clientWidth];
        }).filter(([, over, share]) => over > 1 || share < 0.62)"""
    )
    assert narrow == []


def test_ticks_of_epochs_and_trials_are_whole_and_different(whole: Watched, page: Page) -> None:
    choose(page, "tiny")
    drawn(page, "#plot-top1")
    drawn(page, "#plot-loss")
    for where, plots in (
        (whole.page, ("[data-curve]", "[data-figure=sweep0_best0]", "#plot-top1")),
        (page, ("#plot-top1", "#plot-loss")),
    ):
        for plot in plots:
            texts = where.locator(plot).locator("g.role-axis-label").first.locator("text").all_text_contents()
            assert len(texts) > 1
            assert all(re.fullmatch(r"\d+|start", text) for text in texts), (plot, texts)
            assert len(set(texts)) == len(texts), (plot, texts)


def number(text: str) -> float:
    found = re.match(r"[+-]?[\d.]+", text)
    assert found, text
    return float(found[0])


SORT = """place => {
    const board = document.getElementById("board"), head = board.tHead.rows[0].cells[place];
    head.querySelector("button").click();
    return { title: head.innerText.trim(), numeric: head.classList.contains("number"),
        orders: [...board.tHead.rows[0].cells].map(c => c.getAttribute("aria-sort")),
        cells: [...board.tBodies[0].rows].map(r => r.cells[place].textContent.trim()) };
}"""


def test_every_column_sorts_both_ways(page: Page) -> None:
    backwards = []
    count = page.locator("#board thead th").count()
    assert count >= 15
    for place in range(count):
        seen = set()
        for _ in range(2):
            now = page.evaluate(SORT, place)
            order = now["orders"].pop(place)
            assert set(now["orders"]) == {"none"}, now["title"]
            assert len(now["cells"]) == ROWS
            cells = [cell.removesuffix(" use it") for cell in now["cells"] if cell and cell != "–"]
            if now["title"] == "rank":
                assert now["cells"][-1] == "–"  # the control group's, whichever way
            keys: list[Any] = [number(c) for c in cells] if now["numeric"] else [c.lower() for c in cells]
            if keys != sorted(keys, reverse=order == "descending"):
                backwards.append((now["title"], order, cells))
            seen.add(order)
        assert seen == {"ascending", "descending"}, now["title"]
    assert backwards == []


def test_rows_without_a_value_come_last_whichever_way_it_is_sorted(page: Page) -> None:
    button = page.locator("#board thead").get_by_role("button", name="gain top-1")
    for _ in range(2):
        button.click()
        assert shown(page)[0] == PHASE2


def test_filter_by_words_and_phase(page: Page) -> None:
    assert len(shown(page)) == ROWS and page.locator("#shown").inner_text() == ""
    page.locator("#filter").fill("NESTED")
    assert shown(page) == ["nested"]
    assert page.locator("#shown").inner_text() == f"1 of {ROWS} runs"
    page.locator("#filter").fill("stages networks")
    assert set(shown(page)) == {"stages", PHASE2}
    page.locator("#phase").select_option("2")
    assert shown(page) == [PHASE2]
    page.locator("#filter").fill("nested")
    assert shown(page) == []
    assert page.locator("#shown").inner_text() == f"0 of {ROWS} runs"
    page.locator("#filter").fill("")
    page.locator("#phase").select_option("1")
    assert set(shown(page)) == set(NETWORKS)
    page.locator("#phase").select_option("")
    assert len(shown(page)) == ROWS and page.locator("#shown").inner_text() == ""


def test_a_sorted_board_stays_filtered(page: Page) -> None:
    page.locator("#filter").fill("networks")
    before = set(shown(page))
    page.locator("#board thead").get_by_role("button", name="val top-1").click()
    assert set(shown(page)) == before and len(before) == 5


def test_hovering_a_point_tells_what_the_leaderboard_says(pointed: Page) -> None:
    page = pointed
    points = symbols(page.locator("[data-figure=latency_top1]"))
    accuracy = dict(zip(shown(page), column(page, "val top-1"), strict=True))
    latency = dict(zip(shown(page), column(page, "latency ms"), strict=True))
    seen = set()
    for place in range(points.count()):
        tip = hover(page, points.nth(place))
        said = dict(
            tip.locator("tr").evaluate_all("rows => rows.map(r => [r.cells[0].innerText, r.cells[1].innerText])")
        )
        run = said["run"]
        assert said["backbone"] in {*NETWORKS.values()}
        assert float(said["validation top-1"]) == pytest.approx(number(accuracy[run]), abs=6e-4)
        assert float(said["latency, ms"]) == pytest.approx(number(latency[run]), abs=0.06)
        seen.add(run)
    assert len(seen) >= ROWS - 2  # points may hide each other
    page.mouse.move(2, 2)
    page.locator("#tip").wait_for(state="hidden")


def test_hovering_the_map_shows_the_picture(pointed: Page, results: Results) -> None:
    page = pointed
    choose(page, "nested")
    points = symbols(drawn(page, "#plot-map"))
    train, val, test = (results.summary("nested")["data"]["images"][s] for s in ("train", "val", "test"))
    # The same bytes are one point: two copies across splits, one within train.
    assert points.count() == train + val + test - 3
    tip = hover(page, points.nth(20))
    page.wait_for_function("document.querySelector('#tip img').naturalWidth > 0")
    assert (tip.locator("img").get_attribute("src") or "").startswith("data:image/webp;base64,")
    name, where = tip.locator("div").all_inner_texts()
    assert (results.data / name).is_file()
    assert where == f"{name.split('/')[0]}, {name.split('/')[1]}"


def tap(page: Page, point: Locator) -> None:
    point.scroll_into_view_if_needed()
    page.wait_for_timeout(100)  # scrolling hides what is shown
    box = point.bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_a_tap_shows_what_hovering_shows(phone: Page) -> None:
    page, tip = phone, phone.locator("#tip")
    choose(page, "nested")
    tap(page, symbols(drawn(page, "#plot-map")).nth(20))
    tip.wait_for()
    page.wait_for_function("document.querySelector('#tip img').naturalWidth > 0")
    box = tip.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390
    tap(page, page.locator("#h-map"))
    tip.wait_for(state="hidden")
    for figure, words in (
        ("latency_top1", "interval from"),
        ("separability_logme", "LogME"),
        ("macs_latency", "GMACs"),
        ("gains", "over run"),
        ("sweep0_best0", "trial"),
    ):
        tap(page, symbols(page.locator(f"[data-figure={figure}]")).last)
        tip.wait_for()
        assert words in tip.inner_text(), figure
        tap(page, page.locator("h2").first)
        tip.wait_for(state="hidden")


def test_a_finger_need_not_hit_a_point_exactly(phone: Page) -> None:
    page, tip = phone, phone.locator("#tip")
    point = symbols(page.locator("[data-figure=gains]")).first
    point.scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    box = point.bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] - 12)
    tip.wait_for()
    page.keyboard.press("Escape")
    tip.wait_for(state="hidden")
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] - 60)
    page.wait_for_timeout(100)
    assert tip.is_hidden()


def test_the_images_of_the_map_are_there_without_a_mouse(page: Page) -> None:
    choose(page, "nested")
    points = symbols(drawn(page, "#plot-map")).count()
    page.wait_for_function("document.querySelector('#plot-map svg.marks').ariaHidden === 'true'")
    assert page.locator("#plot-map").get_attribute("aria-label")
    assert page.locator("#map-images img").count() == 0
    page.locator("#map-images > summary").focus()
    page.keyboard.press("Enter")
    groups = page.locator("#map-images details")
    groups.first.wait_for()
    assert groups.locator("summary").count() == len(CLASSES)
    for place, name in enumerate(sorted(CLASSES)):
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert name in groups.nth(place).locator("summary").inner_text()
        groups.nth(place).locator("li").first.wait_for()
    assert groups.locator("li").count() == points == groups.locator("img").count()
    assert f"train/{IMAGE}/{FILE}" in groups.locator(".name").all_inner_texts()
    choose(page, PHASE2)
    assert page.locator("#map-images").is_hidden()


def test_only_marks_that_say_something_are_read_out(whole: Watched) -> None:
    named = whole.page.locator(".plot svg .role-mark [role=graphics-symbol]").evaluate_all(
        "all => all.filter(e => !e.closest('[aria-hidden=true]')).map(e => e.ariaLabel)"
    )
    assert len(named) > 10
    assert all(re.search("backbone|option|trial|from epoch|images", label or "") for label in named), named


@pytest.mark.parametrize("width", [390, 1280])
def test_no_heading_of_a_row_is_cut(browser: Browser, results: Results, width: int) -> None:
    with opened(browser, results.report, viewport={"width": width, "height": 844}) as watched:
        heads = watched.page.locator("table.data tbody th, #confusion tbody th")
        cut = heads.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)")
        assert heads.count() > 20 and cut == []


def test_latency_is_seen_without_scrolling_the_board(page: Page) -> None:
    board = page.locator("#leaderboard .scroll").first.bounding_box()
    head = page.locator("#board thead th", has_text="latency ms").bounding_box()
    assert board and head and head["x"] + head["width"] <= board["x"] + board["width"]


def test_every_picture_on_the_page_is_really_one(whole: Watched) -> None:
    pictures = whole.page.locator(".picture img")
    assert pictures.count() > 20
    pictures.evaluate_all("images => Promise.all(images.map(i => i.decode()))")
    assert pictures.evaluate_all("images => images.filter(i => i.naturalWidth === 0 || !i.alt).length") == 0


def positions(page: Page) -> list[str]:
    return symbols(drawn(page, "#plot-map")).evaluate_all("points => points.map(p => p.getAttribute('transform'))")


def test_projection_changes_the_map(page: Page) -> None:
    choose(page, "tiny")
    first, note = positions(page), page.locator("#map-note")
    assert "t-SNE" in note.inner_text()
    page.get_by_label("PCA").check()
    page.wait_for_function("document.getElementById('map-note').textContent.includes('of the variance')")
    other = positions(page)
    assert len(other) == len(first) and other != first
    page.get_by_label("t-SNE").check()
    page.wait_for_function("document.getElementById('map-note').textContent.includes('t-SNE')")
    assert positions(page) == first


def confusion(page: Page) -> list[list[int]]:
    rows = page.locator("#confusion tbody tr").evaluate_all(
        "rows => rows.map(r => [...r.querySelectorAll('td')].map(c => c.textContent))"
    )
    return [[int(cell) for cell in row[: len(CLASSES)]] for row in rows]


def test_choosing_a_run_shows_that_run(page: Page, results: Results) -> None:
    seen = {}
    for run in ("tiny", PHASE2, "squeeze"):
        choose(page, run)
        summary = results.summary(run)
        assert f"{summary['val']['top1']['mean']:.4f}" in page.locator("#facts").inner_text()
        page.get_by_label("validation", exact=True).check()
        assert confusion(page) == summary["confusion"]["val"]
        page.get_by_label("test", exact=True).check()
        assert confusion(page) == summary["confusion"]["test"]
        curves = [
            drawn(page, p).locator("g.mark-line path").first.get_attribute("d") for p in ("#plot-top1", "#plot-loss")
        ]
        wrong = sum(sum(row) for row in summary["confusion"]["val"]) - sum(
            row[i] for i, row in enumerate(summary["confusion"]["val"])
        )
        mistakes = page.locator("#mistakes .name").all_inner_texts()
        assert len(mistakes) == min(12, wrong)
        assert "taken for" in page.locator("#mistakes").inner_text()
        assert f'"backbone": "{summary["backbone"]}"' in (page.locator("#options").text_content() or "")
        seen[run] = (page.locator("#facts").inner_text(), str(curves), str(mistakes))
    for place in range(3):
        assert len({parts[place] for parts in seen.values()}) == 3


def test_a_run_chosen_in_haste_is_the_one_that_stays(page: Page, results: Results) -> None:
    """Drawing takes a moment: of two choices at once the later one wins, in every figure."""
    choose(page, "squeeze")
    calm = positions(page)
    page.evaluate(
        """() => { const c = document.getElementById("choice");
            for (const run of ["tiny", "nested", "squeeze", "plain", "squeeze"]) {
                c.value = run; c.dispatchEvent(new Event("change")); } }"""
    )
    page.wait_for_timeout(1000)
    assert positions(page) == calm
    assert f"{results.summary('squeeze')['val']['top1']['mean']:.4f}" in page.locator("#facts").inner_text()


def test_a_link_of_the_leaderboard_leads_to_the_run(page: Page, results: Results) -> None:
    page.locator("#board a[data-run=root]").click()
    assert page.locator("#choice").input_value() == "root"
    assert f"{results.summary('root')['val']['top1']['mean']:.4f}" in page.locator("#facts").inner_text()
    page.wait_for_function("Math.abs(document.getElementById('run').getBoundingClientRect().top) < 200")


def test_unfreezing_is_marked_in_the_curves_of_phase_2_alone(whole: Watched, page: Page) -> None:
    plot = whole.page.locator(f"[data-curve={PHASE2}]")
    rules = plot.locator("g.mark-rule.role-mark line, g.mark-rule.role-mark path")
    assert rules.count() == 2
    assert {"layer4", "layer1 on, rate x 0.5"} <= set(plot.locator("g.mark-text.role-mark text").all_text_contents())
    choose(page, PHASE2)
    assert drawn(page, "#plot-top1").locator("g.mark-rule.role-mark line").count() == 2
    choose(page, "tiny")
    page.wait_for_function("!document.querySelector('#plot-top1 g.mark-rule.role-mark')")


def test_a_fine_tuned_run_has_no_map_and_says_why(page: Page) -> None:
    choose(page, PHASE2)
    assert "not kept" in page.locator("#plot-map").inner_text()
    assert symbols(page.locator("#plot-map")).count() == 0
    assert not page.get_by_label("PCA").is_visible()
    choose(page, "tiny")
    assert page.get_by_label("PCA").is_visible()
    assert symbols(drawn(page, "#plot-map")).count() > 0


def test_sweeps_tell_what_came_out(whole: Watched) -> None:
    text = whole.page.locator("#sweeps").inner_text()
    for words in (
        "one",
        "two",
        "8 trials",
        "objective val_top1",
        "objective val_loss, params",
        "training.learning_rate",
    ):
        assert words in text
    lines = whole.page.locator("[data-figure=sweep0_parallel] g.mark-line path")
    assert lines.count() == 8


def test_a_sweeps_best_trial_is_told_with_what_it_reached(whole: Watched, results: Results) -> None:
    text = whole.page.locator("#sweeps").inner_text()
    (best,) = json.loads((results.folder / "sweeps" / "one" / "sweep.json").read_text())["best"]
    assert f"Trial {best['trial']}: val_top1 {best['val_top1']:.4g} with" in text
    assert "Best val top-1" in text and "as found; corrected for having been chosen among" in text


def test_the_audit_shows_copies_with_their_pictures(whole: Watched) -> None:
    audit = whole.page.locator("#audit")
    text = audit.inner_text()
    assert f"val/{SCRIPT}/leak.png" in text and f"test/{IMAGE}/leak.png" in text
    assert "across splits" in text and "labels differ" in text and "splitslabels" not in text
    assert "broken <b>.png" in text
    group = audit.locator(".group", has_text="wrong label.png")
    assert group.locator("img").count() == 2
    assert "Leaked images" in whole.page.locator("#verdict").inner_text()
    assert whole.page.locator("#leaked").count() == 1


def test_a_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    box = page.locator(".skip").bounding_box()
    assert box and box["x"] >= 0 and box["y"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#verdict")
    head = page.locator("#board thead th", has_text="latency ms")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    first = head.get_attribute("aria-sort")
    page.keyboard.press("Space")
    assert {first, head.get_attribute("aria-sort")} == {"ascending", "descending"}
    page.locator("#board a[data-run=plain]").focus()
    page.keyboard.press("Enter")
    assert page.locator("#choice").input_value() == "plain"
    page.get_by_label("t-SNE").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("PCA").is_checked()
    page.wait_for_function("document.getElementById('map-note').textContent.includes('of the variance')")


def test_links_within_the_page_lead_somewhere(whole: Watched) -> None:
    ids = whole.page.locator("[id]").evaluate_all("all => all.filter(e => !e.closest('svg')).map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = whole.page.locator("a[href^='#']:not(.vega-actions a)").evaluate_all(
        "all => all.map(a => a.getAttribute('href').slice(1))"
    )
    assert len(links) > 10
    assert set(links) <= set(ids)


def test_a_figure_can_be_saved(page: Page) -> None:
    plot = drawn(page, "[data-figure=latency_top3]")
    plot.locator("summary").click()
    with page.expect_download() as download:
        plot.get_by_text("Save as SVG").click()
    assert download.value.suggested_filename == "latency_top3.svg"
    assert Path(download.value.path()).read_text().startswith("<svg")


@pytest.mark.parametrize("width", [390, *(pytest.param(w, marks=pytest.mark.slow) for w in (768, 1280))])
def test_the_page_is_no_wider_than_the_screen(browser: Browser, results: Results, width: int) -> None:
    with opened(browser, results.report, viewport={"width": width, "height": 844}) as watched:
        page = watched.page
        complete(page)
        for run in (PHASE2, "tiny"):
            choose(page, run)
            drawn(page, "#plot-top1")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert watched.complaints == []


@pytest.mark.parametrize(
    ("device", "width", "scheme"),
    [
        ("phone", 390, "dark"),
        pytest.param("phone", 390, "light", marks=pytest.mark.slow),
        pytest.param("desktop", 1280, "light", marks=pytest.mark.slow),
        pytest.param("desktop", 1280, "dark", marks=pytest.mark.slow),
    ],
)
def test_screenshots_show_the_whole_page(
    browser: Browser, results: Results, tmp_path: Path, device: str, width: int, scheme: Any
) -> None:
    """To be looked at: FEATCACHE_SCREENSHOTS names a folder where they stay."""
    folder = Path(os.environ.get("FEATCACHE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"report-{device}-{scheme}.png"
    with opened(browser, results.report, viewport={"width": width, "height": 844}, color_scheme=scheme) as watched:
        complete(watched.page)
        watched.page.screenshot(path=file, full_page=True)
        height = watched.page.evaluate("document.documentElement.scrollHeight")
    with Image.open(file) as picture:
        assert picture.size == (width, height)
        rows = np.asarray(picture.convert("L"), dtype=np.float64).std(axis=1)
    # No stretch of the page as high as half a screen is blank.
    blank = "".join("01"[int(row < 1)] for row in rows)
    assert max(len(stretch) for stretch in blank.split("0")) < 422


def luminance(colour: str) -> float:
    """Relative, as WCAG 2 has it."""
    parts = [float(p) / 255 for p in re.findall(r"[\d.]+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


TEXTS = "body, h1, h2, .muted, td, th a, .tag, .name, figcaption, select, #tip, #facts dd"


# Of the light one axe asks the same of text, and what is printed of plots.
@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_text_stands_out_in_either_scheme(browser: Browser, results: Results, scheme: Any) -> None:
    with opened(browser, results.report, color_scheme=scheme) as watched:
        page = watched.page
        complete(page)
        paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert paper < 0.05 if scheme == "dark" else paper > 0.9
        texts = page.locator(TEXTS).evaluate_all("all => all.map(e => getComputedStyle(e).color)")
        inks = page.locator(".plot svg text").evaluate_all("all => all.map(e => getComputedStyle(e).fill)")
        assert len(texts) > 100 and len(inks) > 100
        for colour in {*texts, *inks}:
            low, high = sorted((paper, luminance(colour)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, colour


def test_print_has_it_all_on_white(browser: Browser, results: Results) -> None:
    """A4 leaves 718 pixels between its margins; browsers shrink what is wider by a third, and cut the rest."""
    with opened(browser, results.report, color_scheme="dark", viewport={"width": 718, "height": 1000}) as watched:
        page = watched.page
        complete(page)
        page.emulate_media(media="print")
        for gone in ("nav", ".controls", ".skip", ".vega-embed summary"):
            assert page.locator(gone).first.is_hidden()
        for text in ("body", "td", ".muted", "h2"):
            assert luminance(page.locator(text).first.evaluate("e => getComputedStyle(e).color")) < 0.1
        assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9
        inks = page.locator(".plot svg text").evaluate_all("all => all.map(e => getComputedStyle(e).fill)")
        assert max(map(luminance, inks)) < 0.2
        assert page.locator(".screen").first.is_hidden()
        broken = page.locator("td.number:visible").evaluate_all(
            """all => all.map(e => { const range = document.createRange(); range.selectNodeContents(e);
                return [e.textContent, new Set([...range.getClientRects()].map(b => b.top)).size]; })
                .filter(([, lines]) => lines > 1)"""
        )
        assert broken == []
        clipped = page.locator("main *").evaluate_all(
            """all => all.filter(e => ["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)
                && !e.closest("svg, .hidden") && e.getClientRects().length && e.scrollWidth > e.clientWidth + 1)
                .map(e => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 40))"""
        )
        assert clipped == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 718 * 4 / 3


def test_without_javascript_the_answer_is_there(browser: Browser, results: Results) -> None:
    with opened(browser, results.report, java_script_enabled=False) as watched:
        page = watched.page
        verdict = page.locator("#verdict").inner_text()
        assert "most separable feature map of 5 pretrained ones" in verdict and "Leaked images" in verdict
        rows = page.locator("#board tbody tr").all_inner_texts()
        assert len(rows) == ROWS and all(page.locator("#board tbody tr").nth(i).is_visible() for i in range(ROWS))
        assert page.locator("noscript p").first.bounding_box()
        for useless in ("#filter", "#choice", "#projection"):
            assert page.locator(useless).is_hidden(), useless
        assert watched.complaints == []


def test_names_are_text_wherever_they_stand(whole: Watched, page: Page) -> None:
    choose(page, "tiny")
    drawn(page, "#plot-map")
    for where in (whole.page, page):
        for name in (IMAGE, SCRIPT, MARKDOWN):
            assert name in (where.locator("#confusion").text_content() or "")
        assert DATA in where.locator("#provenance").inner_text()
        assert DATA in (where.locator("#options").text_content() or "")
        assert f"train/{IMAGE}" in where.locator("#audit").inner_text()
        assert where.locator("img[src=x], [onerror], [onload], u, main script, body > b").count() == 0
        assert where.locator("script").count() == 5
    legend = page.locator("#plot-map g.role-legend").first.text_content() or ""
    assert "<img src=x" in legend and "<script>" in legend


def test_a_file_with_markup_for_a_name_is_shown_by_its_name(pointed: Page) -> None:
    page = pointed
    choose(page, "nested")
    points = symbols(drawn(page, "#plot-map"))
    images = page.evaluate(
        "(d => d.mapImages.map(i => d.images[i].name))(JSON.parse(document.getElementById('data').textContent))"
    )
    tip = hover(page, points.nth(images.index(f"train/{IMAGE}/{FILE}")))
    assert FILE in tip.inner_text()
    assert tip.locator("svg").count() == 0


@pytest.mark.parametrize(
    "looks",
    [
        [(390, "light")],  # that text stands out in the dark has a test above
        # Each width and each colour scheme once: what axe asks of one does not depend on the other.
        pytest.param([(1280, "light"), (390, "dark")], marks=pytest.mark.slow),
        pytest.param([(1280, "dark"), (390, "light")], marks=pytest.mark.slow),
    ],
    ids=["a phone", "each once", "the other way round"],
)
def test_axe_finds_nothing_serious(
    browser: Browser, results: Results, looks: list[tuple[int, Literal["light", "dark"]]]
) -> None:
    with opened(browser, results.report) as watched:
        page = watched.page
        complete(page)
        choose(page, "tiny")
        drawn(page, "#plot-map")
        serious = set()
        for width, scheme in looks:
            page.set_viewport_size({"width": width, "height": 844})
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page)
            assert found.response["testEngine"]["name"] == "axe-core"
            for violation in found.response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    html = violation["nodes"][0]["html"][:200]
                    serious.add((width, scheme, violation["id"], len(violation["nodes"]), html))
        assert serious == set()
