"""The page to drop images on, in a real browser: what it shows of an image, of a failure, of names that are markup."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from report_pages import open_browser
from servers import MARKUP, Served, noise, run_for, served

PATIENCE = 60_000  # milliseconds, on a machine that does other things too
WIDTHS = "images => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth)))"
DROP = """([name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes], name));
  document.getElementById("drop").dispatchEvent(
    new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_for(tmp_path_factory)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with open_browser() as browser:
        yield browser


@contextmanager
def visited(browser: Browser, server: Served) -> Iterator[Page]:
    """The page once it can be used; at the end it must have complained of nothing, and asked nobody else."""
    window = browser.new_context(viewport={"width": 1000, "height": 900})
    page, complaints, asked = window.new_page(), [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type != "log" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("dialog", lambda d: (complaints.append(d.message), d.dismiss()))
    page.on("request", lambda r: asked.append(r.url))
    own = f"http://127.0.0.1:{server.port}/"
    page.goto(own, timeout=PATIENCE)
    expect(page.locator("html[data-state=ready]")).to_be_attached()
    try:
        yield page
        refused = re.compile(r"the server responded with a status of (401|422|503)")  # which Chromium writes down
        assert [c for c in complaints if not refused.search(c)] == []
        assert [url for url in asked if not url.startswith((own, "blob:http", "data:"))] == []
    finally:
        window.close()


def give(page: Page, *files: tuple[str, bytes]) -> None:
    page.locator("#files").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    )


def test_an_image_gets_its_class_bars_warning_neighbours_and_time(browser: Browser, run: Path) -> None:
    image = run.parents[1] / "digits" / "train" / MARKUP / "003.png"
    with served(run) as server, visited(browser, server) as page:
        give(page, (f"{MARKUP}.png", image.read_bytes()))
        card = page.locator(".result[data-state=done]")
        expect(card).to_have_count(1)
        (said,) = server.post([("a.png", image.read_bytes())], "?neighbours=5").json["images"]
        assert said["class"] == MARKUP
        expect(card.locator("h3")).to_have_text(f"{MARKUP} {100 * said['probability']:.1f}%")
        assert card.locator(".chances th").all_inner_texts() == [one["class"] for one in said["top"]]
        widths = card.locator(".bar").evaluate_all("bars => bars.map(b => b.offsetWidth / b.parentElement.clientWidth)")
        for width, one in zip(widths, said["top"], strict=True):
            assert abs(width - one["probability"]) < 0.02
        expect(card.locator(".near img")).to_have_count(5)
        assert card.locator(".near img").evaluate_all(WIDTHS) == [40] * 5
        assert card.locator(".near .tag").all_inner_texts() == [one["class"] for one in said["neighbours"]]
        expect(card.locator(".latency")).to_contain_text("ms in the server")
        expect(card.locator(".warning")).to_have_count(0)
        expect(card.locator(".name").first).to_have_text(f"{MARKUP}.png")
        assert page.locator("img[src=x]").count() == 0
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_many_are_answered_and_what_is_no_image_says_why(browser: Browser, run: Path) -> None:
    with served(run, queue=4) as server, visited(browser, server) as page:
        give(page, *((f"{n}.png", noise(n)) for n in range(10)), ("notes.txt", b"no image"))
        expect(page.locator("#said")).to_have_text("11 of 11 answered")
        expect(page.locator(".result[data-state=done]")).to_have_count(10)
        expect(page.locator(".result[data-state=done] .warning")).to_have_count(10)  # noise is no digit
        expect(page.locator(".result[data-state=failed] [role=alert]")).to_contain_text("not an image")
        page.evaluate(DROP, ["dropped.png", base64.b64encode(noise(50)).decode()])
        expect(page.locator(".result[data-state=done]")).to_have_count(11)
        expect(page.locator(".result .name").first).to_have_text("dropped.png")


def test_a_token_is_asked_for_and_nothing_shown_without_it(browser: Browser, run: Path) -> None:
    with served(run, token="a secret") as server, visited(browser, server) as page:
        assert "digits" not in page.content()
        give(page, ("a.png", noise(0)))
        expect(page.locator(".result[data-state=failed] [role=alert]")).to_contain_text("Bearer")
        page.get_by_label("Token").fill("a secret")
        give(page, ("a.png", noise(0)))
        expect(page.locator(".result[data-state=done]")).to_have_count(1)
        expect(page.locator(".result[data-state=done] .near img")).to_have_count(5)
