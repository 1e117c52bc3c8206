"""A figure or finding that is declared in one place arrives wherever a report shows such things."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from command_runs import done
from playwright.sync_api import Browser
from report_pages import Results, complete, open_browser, opened, results_for

from featcache.audit import findings, write_audit
from featcache.audit.audit_json import load_audit
from featcache.audit.evidence import Evidence
from featcache.audit.findings import Finding
from featcache.records import SILENT
from heads.leaderboard import rank_results
from heads.report import figures
from heads.report.figures import FIGURES, RUN_FIGURES, SWEEP_FIGURES, Figure, Section
from heads.report.report_contents import Contents
from heads.report.vega_lite import NUMBER, Spec, chart, tips
from heads.runs import audit_runs

ODD = "<b id=x-injected>Planted</b>"  # titles and captions are text


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_for(tmp_path_factory)


@pytest.fixture
def own(results: Results, tmp_path: Path) -> Results:
    """The same results for one test alone, on the shared cache, without what an earlier report wrote."""
    shutil.copytree(results.folder, tmp_path / "results", ignore=shutil.ignore_patterns("figures", "report.*"))
    return Results(tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def epochs(contents: Contents) -> Spec:
    """A figure somebody may add: the best epoch of each run."""
    points = [{"run": row.run, "epoch": contents.runs[row.run].best_epoch} for row in contents.rows]
    encoding = {
        "x": {**NUMBER, "field": "epoch"},
        "y": {"field": "run", "type": "nominal"},
        "tooltip": tips(run="run", epoch="epoch"),
    }
    return chart("Best epoch of each run", points, [{"mark": {"type": "point"}, "encoding": encoding}], height=120)


def count(contents: Contents) -> str:
    return f"Of {len(contents.rows)} runs <i>."


def plant(monkeypatch: pytest.MonkeyPatch, *planted: Figure) -> None:
    monkeypatch.setattr(figures, "FIGURES", (*FIGURES, *planted))


def test_a_planted_figure_is_on_the_page_in_its_section(
    own: Results, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: tuple[Section, ...] = get_args(Section)
    plant(monkeypatch, *(Figure(f"planted_{one}", one, ODD, epochs, caption=count) for one in sections))
    done("report", "--results-dir", own.folder, "-q")
    with opened(browser, own.report) as watched:
        complete(watched.page)
        for section in sections:
            place = watched.page.locator(f"#{section} #figure-planted_{section}")
            assert place.locator("[data-state=drawn] g.mark-symbol.role-mark path").count() == 7
            assert place.locator("figcaption").inner_text() == f"{ODD}. Of 7 runs <i>."
        assert watched.page.locator("#x-injected").count() == 0
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert watched.complaints == []


def test_a_planted_figure_is_a_file_and_in_the_markdown(own: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    minor = Figure("minor", "cost", "Minor", epochs, main=False)
    plant(monkeypatch, Figure("planted", "cost", "Best epochs", epochs), minor)
    said = done("report", "--format", "md", "--results-dir", own.folder).output
    files = {file.name for file in (own.folder / "figures").iterdir()}
    assert {"planted.svg", "planted.png", "latency_top3.svg"} <= files
    assert not {name for name in files if "minor" in name}
    assert f"{len(files)} figures as SVG and PNG" in " ".join(said.split())
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (own.folder / "report.md").read_text())
    assert shown[-1] == ("Best epochs", "figures/planted.png")
    assert {f"{Path(file).stem}.svg" for _, file in shown} == {name for name in files if name.endswith("svg")}


def test_a_figure_without_anything_to_draw_leaves_no_trace(own: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, Figure("planted", "audit", "Planted", lambda contents: None))
    done("report", "--results-dir", own.folder, "-q")
    assert "planted" not in own.report.read_text().lower()
    assert not list((own.folder / "figures").glob("planted*"))


def test_figures_stand_in_the_order_that_they_are_given(own: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Figure("first", "latency", "First", epochs, place=lambda contents: -1)
    plant(monkeypatch, Figure("last", "latency", "Last", epochs), first)
    done("report", "--results-dir", own.folder, "-q")
    latency = own.report.read_text().partition('<section id="latency"')[2].partition("</section>")[0]
    names = re.findall(r'id="figure-([a-z0-9_]+)"', latency)
    assert names == ["first", "latency_top3", "latency_top1", "last"]


def test_a_planted_finding_of_the_audit_is_on_the_page(
    own: Results, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(evidence: Evidence) -> list[str]:
        return [f"{ODD} {i.name}" for i in evidence.manifest.images][:20]

    planted = Finding("planted", ODD, lambda audit: [f"{len(audit.lines('planted'))} of them. {ODD}"], find)
    monkeypatch.setattr(findings, "FINDINGS", (planted, *findings.FINDINGS))
    audited = done("audit", "--results-dir", own.folder, "-q").output
    assert ODD in audited.splitlines()  # the heading
    done("report", "--results-dir", own.folder, "-q")
    with opened(browser, own.report) as watched:
        complete(watched.page)
        audit = watched.page.locator("#audit")
        assert audit.locator(".warnings li").first.inner_text() == f"20 of them. {ODD}"
        titles = audit.locator("h3").all_inner_texts()
        assert titles[:3] == ["Classes", ODD, "Exact copies"]
        lines = audit.locator("ul:not(.warnings) > li", has_text=ODD)
        assert (lines.count(), lines.locator("visible=true").count()) == (20, 12)
        audit.get_by_text("8 more", exact=True).first.click()
        assert lines.locator("visible=true").count() == 20
        assert watched.page.locator("#x-injected").count() == 0
        assert watched.complaints == []


def test_an_audit_that_lacks_a_finding_is_made_again(own: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = rank_results(own.folder).best_runs(3)
    (file,) = own.folder.glob("audit/*.json")
    assert audit_runs(runs, None, SILENT, reuse=own.folder).created == load_audit(file).created
    planted = Finding("planted", "Planted", find=lambda evidence: [image.name for image in evidence.manifest.images])
    monkeypatch.setattr(findings, "FINDINGS", (*findings.FINDINGS, planted))
    again = audit_runs(runs, None, SILENT, reuse=own.folder)
    assert len(again.lines("planted")) == sum(again.data.images.values())
    write_audit(again, file)
    assert audit_runs(runs, None, SILENT, reuse=own.folder) == again


def test_no_two_figures_have_one_name() -> None:
    names = [*(f.name for f in FIGURES), *(f.name for f in RUN_FIGURES)]
    assert len(names) == len(set(names))
    sweeps = [f.name for f in SWEEP_FIGURES]
    assert len(sweeps) == len(set(sweeps))
