"""The one style of featcache's pages, so that they look alike."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup


def page_style() -> Markup:
    """CSS for a style element: colours of light and dark, text, tables, pictures."""
    return Markup((Path(__file__).parent / "assets" / "report.css").read_text(encoding="utf-8"))
