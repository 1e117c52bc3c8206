"""The registry of findings: one that is planted arrives in JSON, sentences and views, in its place among the others."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from featcache.app.audit_tables import print_audit
from featcache.audit import Audit, Lines, Table, audit, is_complete, page_views, terminal_views, write_audit
from featcache.audit import findings as registry
from featcache.audit.audit_json import load_audit
from featcache.audit.audit_records import Further
from featcache.audit.evidence import Evidence
from featcache.audit.finding_views import Groups, Pictures
from featcache.audit.findings import FINDINGS, Finding
from featcache.errors import RunError
from featcache.places import FilePlace
from featcache.records import BadImage, ImageRecord, Manifest, Split

ODD = "train/[bold]odd[/] <b>.png"  # no markup anywhere
COUNT = 40


def find_dark(evidence: Evidence) -> Iterator[str]:
    """A finding somebody may add: images whose features are all but zero."""
    for backbone, rows in evidence.features.items():
        for image, row in zip(evidence.manifest.images, rows, strict=True):
            if np.abs(row).max() < 1e-3:
                yield f"{image.name}: nothing there for {backbone}"


def say_dark(audit: Audit) -> Iterator[str]:
    lines = audit.lines("dark")
    if lines:
        yield f"{len(lines)} images are dark, such as {lines[0]}."


DARK = Finding("dark", "Dark images", say_dark, find=find_dark)


def made(dark: int = 1) -> Audit:
    """Of digits: a copy within train, one broken file, and so many that are dark."""
    rng = np.random.default_rng(0)
    rows = rng.random((COUNT, 8)).astype(np.float32) + 0.1
    rows[:dark] = 0
    rows[-1] = rows[-2]
    splits: tuple[Split, ...] = ("train", "val", "test", "train")
    images = tuple(
        ImageRecord(
            FilePlace(str(i)),
            ODD if i == 0 else f"{i}.png",
            f"{min(i, COUNT - 2):064x}",
            i // 8 % 2,
            "train" if i > COUNT - 3 else splits[i % 4],
        )
        for i in range(COUNT)
    )
    data = Manifest("made", Path("/made"), ("a", "b"), images)
    return audit(data, {"net": rows}, [BadImage("bad.png", "ff", "no image")])


def printed(found: Audit) -> str:
    text = io.StringIO()
    print_audit(found, Console(file=text, width=200))
    return text.getvalue()


@pytest.fixture
def plain() -> Audit:
    """Without the planted finding: comes before it where a test asks for both."""
    return made()


@pytest.fixture
def planted(plain: Audit, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """With it, behind the third of the others."""
    monkeypatch.setattr(registry, "FINDINGS", (*FINDINGS[:3], DARK, *FINDINGS[3:]))
    return made()


def test_no_two_findings_have_one_name() -> None:
    names = [finding.name for finding in FINDINGS]
    assert len(names) == len(set(names)) >= 9
    assert all(finding.title for finding in FINDINGS)


def test_a_planted_finding_is_in_the_json_and_comes_back(planted: Audit, tmp_path: Path) -> None:
    write_audit(planted, tmp_path / "audit.json")
    value = json.loads((tmp_path / "audit.json").read_text())
    line = f"{ODD}: nothing there for net"
    assert value["format_version"] == 1
    assert value["further"] == [{"name": "dark", "title": "Dark images", "lines": [line]}]
    assert load_audit(tmp_path / "audit.json") == planted
    assert planted.lines("dark") == (line,)
    assert planted.lines("nothing of the kind") == ()


def test_a_planted_finding_is_said_in_its_place(plain: Audit, planted: Audit) -> None:
    before = [line for line in plain.warnings if "cannot be read" in line]
    assert len(before) == 1
    place = plain.warnings.index(before[0]) + 1
    dark = f"1 images are dark, such as {ODD}: nothing there for net."
    assert planted.warnings == (*plain.warnings[:place], dark, *plain.warnings[place:])
    assert place < len(plain.warnings)  # others come behind


def test_a_planted_finding_is_on_the_terminal(plain: Audit, planted: Audit) -> None:
    said, before = (list(filter(None, printed(found).splitlines())) for found in (planted, plain))
    place = said.index("Dark images")
    assert said[place + 1] == f"- {ODD}: nothing there for net"
    assert place < said.index("Unreadable")
    assert [line for line in said if line in before] == before
    many = printed(made(dark=25)).splitlines()
    assert many[many.index("Dark images") + 11] == "- and 15 more"


def test_views_keep_their_order(planted: Audit) -> None:
    assert [view.title for view in terminal_views(planted)] == [
        *("Dark images", "Most suspect labels", "Farthest from all others", "Images", "Unreadable")
    ]
    assert [view.title for view in page_views(planted)] == [
        *("Classes", "Exact copies", "Dark images", "Suspect labels", "Outliers", "Files that cannot be read")
    ]
    kinds = [type(view) for view in page_views(planted)]
    assert kinds == [Table, Groups, Lines, Pictures, Pictures, Lines]


def test_a_finding_that_finds_nothing_says_and_shows_nothing(plain: Audit, planted: Audit) -> None:
    none = made(dark=0)
    assert [(one.name, one.lines) for one in none.further] == [("dark", ())]  # it was looked for
    assert not [line for line in none.warnings if "dark" in line]
    assert not [view for view in (*terminal_views(none), *page_views(none)) if view.title == "Dark images"]


def test_a_finding_may_show_what_it_likes(planted: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    def table(audit: Audit) -> Iterator[Table]:
        yield Table("dark", "Dark ones", ("line",), tuple((line,) for line in audit.lines("dark")))

    own = Finding("dark", "Dark images", find=find_dark, terminal=table, page=table)
    monkeypatch.setattr(registry, "FINDINGS", (*FINDINGS, own))
    for views in (terminal_views(planted), page_views(planted)):
        titles = [view.title for view in views]
        assert "Dark ones" in titles and "Dark images" not in titles


def test_what_another_installation_found_is_shown_too(planted: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FINDINGS", FINDINGS)
    assert printed(planted).splitlines().index("Dark images") < printed(planted).splitlines().index("Unreadable")
    assert [view.title for view in page_views(planted)][-2:] == ["Dark images", "Files that cannot be read"]


def test_an_audit_from_before_loads_and_is_known_to_lack_the_finding(
    plain: Audit, planted: Audit, tmp_path: Path
) -> None:
    write_audit(plain, tmp_path / "before.json")
    assert "further" not in json.loads((tmp_path / "before.json").read_text())
    before = load_audit(tmp_path / "before.json")
    assert before == plain
    assert not is_complete(before) and is_complete(planted)
    assert "Dark images" not in printed(before)


def test_a_record_of_another_kind_is_refused(planted: Audit, tmp_path: Path) -> None:
    value = planted.as_dict()
    for further in ([{"name": "dark"}], ["dark"], 3):
        (tmp_path / "audit.json").write_text(json.dumps({**value, "further": further}))
        with pytest.raises(RunError, match="is no audit that can be read"):
            load_audit(tmp_path / "audit.json")
    assert planted.further == (Further("dark", "Dark images", (f"{ODD}: nothing there for net",)),)
