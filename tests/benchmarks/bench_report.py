"""How long a report of many runs takes to write, what it weighs, and how soon a browser has it.

A hundred runs on 10,000 photographs, whose figures are drawn at random. Loads are from a file, each in a new window of
a headless Chromium (FEATCACHE_BROWSER, or the one on the path): `usable` is when the page answers, `complete` when
every figure is drawn. Medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))  # the modules that tests share

from command_runs import done
from conftest import TINY, write_digits
from many_runs import write_many_runs
from photographs import machine
from playwright.sync_api import Browser
from report_pages import browser_path, complete, open_browser, opened, write_config

from heads.leaderboard.ranked_results import rank_results
from heads.leaderboard.ranking import leaderboard
from heads.report import write_report
from heads.runs.run import finished_runs

NOW = "performance.now()"  # milliseconds since the load began


def main() -> None:
    """A line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--stores", type=int, default=12, help="feature maps that the runs share")
    parser.add_argument("--loads", type=int, default=5)
    arguments = parser.parse_args()
    if browser_path() is None:
        parser.error("no Chromium here: install it, or name one with FEATCACHE_BROWSER")
    print(f"{machine()}\n{arguments.runs} runs, {arguments.images} images, {arguments.stores} feature maps\n")
    with TemporaryDirectory() as folder:
        results = make_results(Path(folder), arguments.runs, arguments.images, arguments.stores)
        print(f"{'leaderboard':24s} {timed(results, rank):8.2f} s")
        print(f"{'report, the first time':24s} {timed(results, write):8.2f} s")
        print(f"{'report, once more':24s} {timed(results, write):8.2f} s")
        report = results / "report.html"
        print(f"{'report.html':24s} {report.stat().st_size / 1e6:8.2f} MB")
        for part, size in parts(report).items():
            print(f"{'  ' + part:24s} {size / 1e6:8.2f} MB")
        with open_browser() as browser:
            loads = [load(browser, report) for _ in range(arguments.loads)]
        for name, times in zip(("usable", "complete"), zip(*loads, strict=True), strict=True):
            print(f"{name:24s} {statistics.median(times):8.2f} s   ({min(times):.2f} to {max(times):.2f})")


def make_results(root: Path, runs: int, images: int, stores: int) -> Path:
    """The results folder of `runs` runs like a real, small one."""
    digits = write_digits(root / "digits", {"train": 6, "val": 4, "test": 3})
    config = write_config(root / "configs" / "one.json", digits, TINY)
    done("train", config, "--results-dir", root / "one", "--allow-custom", "-q")
    return write_many_runs(root, root / "one" / "one", runs=runs, images=images, stores=stores)


def timed(results: Path, work: Callable[[Path], None]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work(results)
    return time.perf_counter() - start


def rank(results: Path) -> None:
    """Rank the runs."""
    leaderboard(finished_runs(results))


def write(results: Path) -> None:
    """Write the report, the ranking included."""
    write_report(rank_results(results))


def parts(report: Path) -> Counter[str]:
    """Bytes of the page's parts."""
    text = report.read_text(encoding="utf-8")
    data = text.partition('id="data">')[2].partition("</script>")[0]
    value = json.loads(data)
    found = Counter({"pictures": sum(len(image["picture"]) for image in value["images"])})
    found["runs"] = len(json.dumps(value["runs"], separators=(",", ":")))
    found["figures"] = len(json.dumps(value["figures"], separators=(",", ":")))
    found["maps, names"] = len(data) - sum(found.values())
    found["Vega"] = max(len(script) for script in text.split("<script>")[1:])
    found["the rest"] = report.stat().st_size - sum(found.values())
    return found


def load(browser: Browser, report: Path) -> tuple[float, float]:
    """Seconds until the page can be used, and until all of it is drawn."""
    with opened(browser, report) as watched:
        usable = float(watched.page.evaluate(NOW))
        complete(watched.page)
        return usable / 1e3, float(watched.page.evaluate(NOW)) / 1e3


if __name__ == "__main__":
    main()
