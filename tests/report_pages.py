"""A report of real runs on awkwardly named data, and the browser that tests open it in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_runs import done
from conftest import TINY, write_digits
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

# Markup where only names belong: every one of these is a legal folder, file or experiment.
IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert(1)<script>"
MARKDOWN = "a|b *c* & `d` \"e\" 'f'"
CLASSES = ("digit 0", IMAGE, SCRIPT, MARKDOWN)
FILE = "<svg onload=alert(1)>.png"
DATA = "</script><script>alert(1)</script>"  # as a path: three folders

NETWORKS = {
    "tiny": TINY,
    "stages": "networks:four_stages",
    "plain": "networks:without_norms",
    "nested": "networks:nested",
    "root": "networks:root_buffer",
    "squeeze": "squeezenet1_1",
}
SCHEDULE = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]
PHASE2 = "stages-phase2"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def write_config(file: Path, images: Path, backbone: str, **sections: dict[str, Any]) -> Path:
    """The options of a quick run, with its cache beside the data."""
    options: dict[str, Any] = {
        "experiment_name": file.stem,
        "model": {"backbone": backbone, "input_size": 32, "classifier_dims": ["auto", 16, "auto"]},
        "data": {"path": str(images), "batch_size": 16, "workers": 1},
        "training": {"epochs": 4, "learning_rate": 0.01, "seeds": [0, 1]},
        "cache": {"dir": str(file.parents[1] / "cache"), "batch_size": 16},
        "profile": {"iterations": 2, "warmup": 0},
    }
    options["model"]["pretrained"] = ":" in backbone
    for section, values in sections.items():
        options[section].update(values)
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(json.dumps(options))
    return file


@dataclass(frozen=True)
class Results:
    """Where everything is: images, cache, results and the report."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / DATA

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def folder(self) -> Path:
        return self.root / "results"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def summary(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / run / "summary.json").read_text())
        return found


def write_data(root: Path) -> Path:
    """Digits in classes with awkward names; of two training images a copy in val and test, and one broken file."""
    write_digits(root, {"train": 12, "val": 8, "test": 6})
    for split in ("train", "val", "test"):
        for label in range(1, 4):
            (root / split / f"digit {label}").rename(root / split / CLASSES[label])
        folder = root / split / IMAGE
        (folder / "000.png").rename(folder / FILE)
    shutil.copy(root / "train" / SCRIPT / "001.png", root / "val" / SCRIPT / "leak.png")
    shutil.copy(root / "train" / IMAGE / "002.png", root / "test" / IMAGE / "leak.png")
    shutil.copy(root / "train" / IMAGE / "003.png", root / "train" / SCRIPT / "wrong label.png")
    (root / "train" / SCRIPT / "broken <b>.png").write_bytes(b"no picture")
    return root


def write_results(root: Path) -> Results:
    """Six feature maps, one of them fine-tuned, two sweeps and an audit, each by its command."""
    at = Results(root)
    write_data(at.data)
    ways = ("--results-dir", at.folder, "--allow-custom", "-q")
    lenient = {"max_bad_fraction": 0.2}
    for name, backbone in NETWORKS.items():
        write_config(root / "configs" / f"{name}.json", at.data, backbone, data=lenient)
    done("train", root / "configs", *ways)
    training = {"epochs": 3, "seeds": [0], "unfreeze_schedule": SCHEDULE}
    by = write_config(root / "by" / "by.json", at.data, "resnet18", data=lenient, training=training)
    done("finetune", "--from-run", at.folder / "stages", by, *ways)
    space = {
        "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "model.dropout": {"low": 0, "high": 0.5},
        "training.optimizer": ["adamw", "sgd"],
    }
    base = json.loads((root / "configs" / "tiny.json").read_text())
    base["training"] = {"epochs": 2}
    for name, objective in (("one", "val_top1"), ("two", ["val_loss", "params"])):
        options = {"base": base, "space": space, "trials": 8, "batch": 4, "objective": objective}
        if name == "two":
            options["space"] = {**space, "model.classifier_dims": [["auto", 8, 4], ["auto", 32, 4]]}
        (root / f"{name}.json").write_text(json.dumps(options))
        done("sweep", root / f"{name}.json", *ways)
    done("audit", "--results-dir", at.folder, "-q")
    done("report", "--results-dir", at.folder, "-q")
    return at


def results_for(factory: pytest.TempPathFactory) -> Results:
    """Made once for all test files and processes of a test run, to be read only."""
    own = factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "report results"
    with FileLock(root.with_suffix(".lock")):
        at = Results(root)
        return at if at.report.exists() else write_results(root)


def browser_path() -> str | None:
    """Chromium, or what FEATCACHE_BROWSER names."""
    named = os.environ.get("FEATCACHE_BROWSER")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return named or next((path for path in found if path), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Skips where there is no browser, but never in CI: there the page must be looked at."""
    path = browser_path()
    if path is None:
        reason = "no Chromium here: install it, or name one with FEATCACHE_BROWSER"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}. In CI these tests are not skipped.")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Watched:
    """A page, and all that it said, asked for or opened."""

    page: Page
    complaints: list[str]
    requests: list[str]


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[Watched]:
    """`file` in a new window, watched from the first byte on, once it can be used."""
    window = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    page = window.new_page()
    watched = Watched(page, [], [])
    page.on("console", lambda m: watched.complaints.append(f"{m.type}: {m.text}") if m.type != "log" else None)
    page.on("pageerror", lambda e: watched.complaints.append(f"error: {e}"))
    page.on("dialog", lambda d: (watched.complaints.append(f"dialog: {d.message}"), d.dismiss()))
    page.on("request", lambda r: watched.requests.append(r.url))
    page.goto(file.resolve().as_uri())
    try:
        if context.get("java_script_enabled", True):
            page.wait_for_function("document.documentElement.dataset.state !== undefined")
        yield watched
    finally:
        window.close()


def complete(page: Page) -> None:
    """Wait until every figure is drawn."""
    page.wait_for_function("document.documentElement.dataset.state === 'complete'", timeout=60_000)
