"""Figures of what strangers called their classes: the renderer would end the process at a control character."""

from __future__ import annotations

from pathlib import Path

from heads.report.figure_files import save_figure


def test_a_name_with_what_no_svg_may_hold_is_drawn(tmp_path: Path) -> None:
    names = ["\x1b[2J", "\x00", "\x08\x0c", "\ud800", "rain"]
    spec = {
        "data": {"values": [{"\x1bname": name, "n": 1} for name in names]},
        "mark": "bar",
        "encoding": {"x": {"field": "\x1bname"}, "y": {"field": "n", "type": "quantitative"}},
    }
    svg, png = save_figure(spec, tmp_path, "figure")
    assert "rain" in svg.read_text() and "\x1b" not in svg.read_text() and png.stat().st_size > 0
