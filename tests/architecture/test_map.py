"""The picture of the house is what the code is, the same every time, and can be read."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import draw_map
import pytest
from floor_plan import lay_out, room_of
from import_graph import APP, ROOT, STAGES, House, read_house, reduced
from picture import draw, fitted, measure

SVG = "{http://www.w3.org/2000/svg}"
Frame = tuple[float, float, float, float]  # left, top, right, bottom


@pytest.fixture(scope="module")
def house() -> House:
    return read_house()


@pytest.fixture(scope="module")
def picture(house: House) -> ET.Element:
    return ET.fromstring(draw(house))


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_committed_picture_is_what_the_import_graph_gives_in_any_process(seed: str) -> None:
    script = ROOT / "tests" / "architecture" / "draw_map.py"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_check_fails_for_another_picture_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "architecture.svg"
    old.write_text("<svg/>")
    monkeypatch.setattr(draw_map, "PICTURE", old)
    assert draw_map.main(["--check"]) == 1
    assert "Run bin/map" in capsys.readouterr().err
    assert old.read_text() == "<svg/>"
    assert draw_map.main([]) == 0
    assert draw_map.main(["--check"]) == 0


def test_every_room_stands_on_it_once(house: House, picture: ET.Element) -> None:
    said = [text.text for text in picture.iter(f"{SVG}text")]
    assert all(said.count(room.label) == 1 for room in house.rooms.values())
    rooms = [rect for rect in picture.iter(f"{SVG}rect") if rect.get("class") == "room"]
    assert len(rooms) == len(house.rooms) >= 20


def test_the_arrows_that_are_drawn_lead_wherever_a_room_imports(house: House) -> None:
    for stage in STAGES:
        imports = house.within(stage)
        kept = reduced(imports)
        assert kept <= imports
        assert _everything_below(kept) == _everything_below(imports)
        assert all(_everything_below(kept - {one}) != _everything_below(imports) for one in kept)  # none too many


def test_a_line_between_two_rows_enters_a_room_once(house: House) -> None:
    rows = [["a.app"], ["a.one", "a.two"], ["a.three"], ["a.four"]]
    imports = {("a.app", "a.four"), ("a.one", "a.four"), ("a.two", "a.three"), ("a.app", "a.one")}
    plan = lay_out(rows, imports, 600, "")
    entered = [[room_of(b.target) for b in buses] for buses in plan.buses]
    assert [sorted(e) for e in entered] == [["a.four", "a.one"], ["a.four", "a.three"], ["a.four"]]


def test_no_text_touches_another_or_leaves_its_box(picture: ET.Element) -> None:
    texts = [_text_frame(text) for text in picture.iter(f"{SVG}text") if text.get("transform") is None]
    assert len(texts) > 60
    assert not [(a, b) for a, b in combinations(texts, 2) if _overlap(a, b)]
    boxes = [_frame(rect) for rect in picture.iter(f"{SVG}rect") if rect.get("class") == "room"]
    for box in boxes:
        for text in texts:
            if _overlap(box, text):
                assert box[0] < text[0] and text[2] <= box[2] and box[1] < text[1] and text[3] <= box[3], (box, text)
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))
    assert all(left > 0 and right < width and top > 0 and bottom < height for left, top, right, bottom in texts)


def test_no_line_crosses_a_box_or_runs_along_another(picture: ET.Element) -> None:
    boxes = [_frame(rect) for rect in picture.iter(f"{SVG}rect") if rect.get("class") == "room"]
    pieces = [
        (line.get("class"), min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        for line in picture.iter(f"{SVG}polyline")
        for (x1, y1), (x2, y2) in _pieces(line.get("points", ""))
    ]
    assert len(pieces) > 60
    for _, left, top, right, bottom in pieces:
        inside = [b for b in boxes if left < b[2] and right > b[0] and top < b[3] and bottom > b[1]]
        assert not inside, ((left, top, right, bottom), inside)
    for one, other in combinations(pieces, 2):
        if one[0] == other[0]:
            continue  # lines to one room run together
        shared = (max(one[1], other[1]), max(one[2], other[2]), min(one[3], other[3]), min(one[4], other[4]))
        long = max(shared[2] - shared[0], shared[3] - shared[1])
        assert not (shared[0] <= shared[2] and shared[1] <= shared[3] and long > 0), (one, other)


def test_a_purpose_that_is_too_long_ends_at_a_clause_or_with_a_mark() -> None:
    assert fitted("Short.", 200) == ["Short"]
    words = "A purpose of one clause: and then a great many words that nobody would want to read in so small a box"
    assert fitted(words, 120, 2) == ["A purpose of one", "clause"]
    assert fitted("word " * 40, 100, 2)[-1].endswith(" …")
    assert all(measure(line, 12) <= 120 for line in fitted(words, 120, 3))


def _everything_below(imports: frozenset[tuple[str, str]] | set[tuple[str, str]]) -> set[tuple[str, str]]:
    found = set(imports)
    while new := {(a, d) for a, b in found for c, d in found if b == c} - found:
        found |= new
    return found


def _frame(rect: ET.Element) -> Frame:
    x, y, width, height = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def _text_frame(text: ET.Element) -> Frame:
    x, y, size = (float(text.get(key, 0)) for key in ("x", "y", "font-size"))
    return x, y - 0.75 * size, x + measure(text.text or "", int(size)), y + 0.2 * size


def _overlap(a: Frame, b: Frame) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _pieces(points: str) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    corners = [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]
    return list(pairwise(corners))


def test_the_command_line_stands_above_both_stages(house: House) -> None:
    assert {b for a, b in house.imports if a == APP and b.startswith("heads.")}
    assert not [
        pair for pair in house.imports if pair[0].startswith("featcache.") and pair[0] != APP and "heads" in pair[1]
    ]
