"""Feature maps side by side on the page: the matrix, pairs, confused classes, images that all get wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import vl_convert
from playwright.sync_api import Browser
from report_pages import PHASE2, Results, complete, open_browser, opened, results_for

from featcache.separability import linear_cka
from featcache.store import FeatureStore
from heads.leaderboard import rank_results
from heads.redundancy import Alignment
from heads.report import charts_redundancy, vega_lite
from heads.report.page_tables import map_names
from heads.report.redundancy_tables import confused_rows, pair_rows, wrong_images
from heads.report.report_contents import Contents, collect


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_for(tmp_path_factory)


@pytest.fixture(scope="module")
def contents(results: Results) -> Contents:
    return collect(rank_results(results.folder))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def classes(contents: Contents) -> list[str]:
    found: list[str] = contents.runs[contents.rows[0].run].summary["classes"]
    return found


def test_the_matrix_is_cka_of_the_cached_training_features(results: Results, contents: Contents) -> None:
    alignment = contents.comparison.alignment
    assert alignment is not None and PHASE2 not in alignment.runs
    assert len(alignment.runs) == len(contents.board.feature_maps)
    train = sorted({image.sha256 for image in contents.manifest.of("train")})
    x = {
        run: FeatureStore.at(results.cache / contents.runs[run].summary["stores"][0]).read(train)
        for run in alignment.runs
    }
    assert alignment.images == len(train)
    for one in alignment.runs:
        for other in alignment.runs:
            expected = 1 if one == other else linear_cka(x[one], x[other])
            assert alignment.of(one, other) == pytest.approx(expected, abs=1e-5)


def test_every_cell_of_the_figure_is_two_feature_maps(contents: Contents) -> None:
    spec = charts_redundancy.alignment(contents)
    assert spec is not None
    vl_convert.vegalite_to_vega(json.dumps(spec), vl_version=vega_lite.VERSION)
    names, alignment = map_names(contents), contents.comparison.alignment
    assert alignment is not None
    found = {(cell["one"], cell["other"]): cell["cka"] for cell in spec["data"]["values"]}
    assert len(found) == len(alignment.runs) * (len(alignment.runs) - 1)
    for (one, other), cka in found.items():
        assert found[other, one] == cka
    for one in alignment.runs:
        for other in set(alignment.runs) - {one}:
            assert found[names[one], names[other]] == pytest.approx(alignment.of(one, other), abs=6e-4)


@pytest.mark.parametrize(("width", "room"), [(700, True), (60, False)])
def test_values_are_written_where_there_is_room(contents: Contents, width: int, room: bool) -> None:
    spec = charts_redundancy.alignment(contents)
    assert spec is not None
    names = {str(cell["one"]) for cell in spec["data"]["values"]}
    svg = vl_convert.vegalite_to_svg(json.dumps({**spec, "width": width}), vl_version=vega_lite.VERSION)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert any(re.fullmatch(r"\.\d\d|1\.00", text) for text in texts) == room
    assert len(texts) >= len(names)  # rows keep theirs


def test_the_figure_puts_alike_feature_maps_side_by_side(contents: Contents) -> None:
    rng = np.random.default_rng(0)
    runs = tuple(row.run for row in contents.board.feature_maps)
    side = np.array([0, 1, 0, 1, 0, 1])[: len(runs)]
    cka = np.where(side[:, None] == side, 0.93, 0.1) + rng.uniform(0, 0.02, (len(runs),) * 2)
    cka = (cka + cka.T) / 2
    np.fill_diagonal(cka, 1)
    planted = replace(contents, comparison=replace(contents.comparison, alignment=Alignment(runs, cka, 500)))
    spec = charts_redundancy.alignment(planted)
    assert spec is not None
    order = spec["layer"][0]["encoding"]["x"]["sort"]
    names = map_names(contents)
    sides = [side[runs.index(next(run for run in runs if names[run] == name))] for name in order]
    assert sides in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    caption = charts_redundancy.alignment_caption(planted)
    assert "Redundant, with a linear CKA of 0.9 or more on 500 training images: " in caption and caption.count(";") == 2


def test_without_features_there_is_no_matrix_and_the_rest_stands(contents: Contents) -> None:
    without = replace(contents, comparison=replace(contents.comparison, alignment=None))
    assert charts_redundancy.alignment(without) is None
    assert len(pair_rows(without)) == len(pair_rows(contents)) > 0
    assert all(row.cells[0] == "–" for row in pair_rows(without))


def test_the_page_shows_what_was_found(browser: Browser, results: Results, contents: Contents) -> None:
    rows, confused = pair_rows(contents), confused_rows(contents, classes(contents))
    wrong = wrong_images(contents, classes(contents))
    assert rows and confused
    with opened(browser, results.report) as watched:
        complete(watched.page)
        section = watched.page.locator("#redundancy")
        assert section.locator("#figure-alignment svg.marks").count() == 1
        tables = section.locator("table")
        assert tables.nth(0).locator("tbody th").all_inner_texts() == [" + ".join(row.names) for row in rows]
        assert tables.nth(1).locator("tbody th").all_inner_texts() == [row.classes for row in confused]
        assert tables.nth(1).locator("tbody tr").first.locator("td").last.inner_text() == confused[0].finding
        names = section.locator(".pictures .name").all_text_contents()
        assert names == [one.name for one in wrong]
        assert section.locator(".pictures img").count() == len(wrong)
        watched.page.get_by_role("link", name="Side by side").click()
        assert section.is_visible()
        assert watched.complaints == []
