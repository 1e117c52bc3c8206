"""A hundred runs on one page: it stays a file that can be sent by mail, and it opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import done
from conftest import TINY, write_digits
from many_runs import write_many_runs
from playwright.sync_api import Browser
from report_pages import complete, open_browser, opened, write_config

RUNS, IMAGES = 100, 800
pytestmark = pytest.mark.slow  # half a minute; pages of a few runs have tests of their own


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many runs")
    images = write_digits(root / "digits", {"train": 6, "val": 4, "test": 3})
    done("train", write_config(root / "configs" / "one.json", images, TINY), "--results-dir", root / "one",
         "--allow-custom", "-q")  # fmt: skip
    results = write_many_runs(root, root / "one" / "one", runs=RUNS, images=IMAGES, stores=9)  # more than get names
    done("report", "--results-dir", results, "-q")
    return results / "report.html"


def test_a_hundred_runs_weigh_a_few_megabytes(report: Path) -> None:
    assert report.stat().st_size < 8e6


def test_a_hundred_runs_can_be_used(browser: Browser, report: Path) -> None:
    with opened(browser, report) as watched:
        page = watched.page
        assert page.locator("html").get_attribute("data-state") in {"ready", "complete"}
        assert page.locator("#board tbody tr").count() == RUNS
        page.locator("#filter").fill("network_042")
        assert page.locator("#board tbody tr:visible").count() == 1
        page.locator("#board a[data-run=network-042]").click()
        page.locator("#plot-map[data-state=drawn]").wait_for()
        assert page.locator("#plot-map g.mark-symbol.role-mark path").count() >= 390
        complete(page)
        assert watched.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
