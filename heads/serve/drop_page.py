"""The page to drop images on: one answer that needs nothing else, and the policy under which it runs."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from heads.report import page_style
from heads.serve.serve_options import ServeOptions

HERE = Path(__file__).parent / "assets"


class DropPage:
    """The page of one server. Only its own script and style run in it, known by their hashes, and it speaks to this
    server alone."""

    def __init__(self, run: str, options: ServeOptions) -> None:
        style = page_style() + Markup((HERE / "drop_page.css").read_text(encoding="utf-8"))
        script = Markup((HERE / "drop_page.js").read_text(encoding="utf-8"))
        environment = Environment(
            loader=FileSystemLoader(HERE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.html = environment.get_template("drop_page.html.j2").render(
            run=run if options.token is None else "",  # anyone gets this page
            asks_token=options.token is not None,
            options=options,
            style=style,
            script=script,
        )
        self.policy = "; ".join(
            (
                "default-src 'none'",
                f"script-src {_hash_of(script)}",
                f"style-src {_hash_of(style)}",
                "img-src blob: data:",
                "connect-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )


def _hash_of(text: str) -> str:
    """What a policy calls an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
