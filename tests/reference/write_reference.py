"""docs/reference.md from the registries of the code: what can be written, asked for, and read.

python tests/reference/write_reference.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.main import get_command

from featcache.app.json_answers import WITHOUT
from featcache.app.main import app
from featcache.audit.findings import FINDINGS
from featcache.options import options_schema
from featcache.separability.measures import MEASURES
from heads.leaderboard.columns import columns
from heads.report.figures import FIGURES
from heads.search.objectives import OBJECTIVES
from heads.search.samplers import SAMPLERS
from heads.training.metrics import METRICS

FILE = Path(__file__).parents[2] / "docs" / "reference.md"
HEAD = """# Reference

Written by `bin/reference` from the code; a test holds that it is up to date. Where a table says so, installed packages
bring further entries by the entry point that it names ([CONTRIBUTING.md](../CONTRIBUTING.md)).
"""
JSON_RULE = """`--json` at the end of a command prints its answer as JSON, alone on standard output: what is shown for
people is left out, notices and progress are on standard error, exit codes stay. Numbers are in full (bytes, seconds,
fractions); what is no finite number is `null`. A command that fails for some of its configs answers for the others,
with `failed` beside. `combine`, `soup`, `distill` and `curve` also take `--json FILE`, which writes the same beside
what is shown; `--json -` is as without FILE."""


def reference() -> str:
    """The whole file."""
    schema = options_schema()
    parts = [HEAD, *_commands(), *_options(schema), *_entries(), *_columns()]
    return "\n".join(parts).rstrip() + "\n"


def _commands() -> list[str]:
    group = get_command(app)
    lines = ["## Commands", ""]
    rows = []
    for name, command in _leaves(group, ""):
        flags = [o for p in command.params if p.param_type_name == "option" for o in p.opts if o.startswith("--")]
        flags = [o for o in flags if o != "--help"]
        rows.append((f"`{name}`", command.help or "", " ".join(f"`{f}`" for f in flags)))
    return [*lines, *_table(("command", "does", "takes"), rows), "", *_json()]


def _json() -> list[str]:
    found = _leaves(get_command(app), "")
    rows = [(f"`{name}`", one.callback.answers) for name, one in found if one.callback.answers]
    without = "; ".join(f"`{name}` {why}" for name, why in WITHOUT.items())
    return [
        "### As JSON",
        "",
        JSON_RULE,
        "",
        *_table(("command", "its JSON has"), rows),
        "",
        f"Without: {without}.",
        "",
    ]


def _leaves(command: Any, path: str) -> Iterable[tuple[str, Any]]:
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, one in inner.items():
        yield from _leaves(one, f"{path} {name}".strip())


def _options(schema: dict[str, Any]) -> list[str]:
    lines = ["## Options", ""]
    sections = [key for key, value in schema["properties"].items() if _section(schema, value) is not None]
    for section in sections:
        found = _section(schema, schema["properties"][section])
        assert found is not None
        lines += [f"### {section}", "", found.get("description", ""), ""]
        rows = [
            (
                f"`{section}.{key}`",
                _kind(schema, value),
                _default(value, key in found.get("required", ())),
                _said(value),
            )
            for key, value in found["properties"].items()
        ]
        lines += [*_table(("option", "takes", "default", "meaning"), rows), ""]
    return [*lines, *_augmentations(schema)]


def _augmentations(schema: dict[str, Any]) -> list[str]:
    rows = []
    for found in schema["$defs"].values():
        name = found["properties"].get("name", {}).get("const")
        if name is None:
            continue
        options = [
            f"`{key}` {json.dumps(value.get('default'))}" for key, value in found["properties"].items() if key != "name"
        ]
        rows.append((f"`{name}`", found.get("description", ""), ", ".join(options)))
    return ["### Augmentations", "", *_table(("name", "does", "options and defaults"), rows), ""]


def _entries() -> list[str]:
    """The registries, a table each."""
    return [
        *_named("Metrics", "featcache.metrics", [(m.name, m.title, m.meaning) for m in METRICS.values()]),
        *_named(
            "Measures of separability",
            "featcache.measures",
            [(m.name, m.title, f"{m.meaning} ({m.source})") for m in MEASURES.values()],
        ),
        *_named("Samplers", "featcache.samplers", [(n, s.meaning) for n, s in SAMPLERS.items()]),
        *_named("Objectives", "", [(n, o.meaning) for n, o in OBJECTIVES.items()]),
        *_named("Figures of the report", "", [(f.name, f.title) for f in FIGURES]),
        *_named("Findings of the audit", "", [(f.name, f.title) for f in FINDINGS]),
    ]


def _named(title: str, group: str, rows: Sequence[tuple[str, ...]]) -> list[str]:
    names = ("name", "title", "meaning") if len(rows[0]) == 3 else ("name", "meaning")
    note = [f"Entry point: `{group}`.", ""] if group else []
    return [f"## {title}", "", *note, *_table(names, [(f"`{name}`", *rest) for name, *rest in rows]), ""]


def _columns() -> list[str]:
    rows = [(f"`{c.name}`", c.heading("terminal"), c.meaning, ", ".join(sorted(c.at))) for c in columns()]
    return ["## Columns of leaderboard.csv", "", *_table(("column", "heading", "meaning", "shown on"), rows), ""]


def _section(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
    place = value.get("$ref", "") or next((o["$ref"] for o in value.get("allOf", ()) if "$ref" in o), "")
    return schema["$defs"][place.rpartition("/")[2]] if place else None


def _kind(schema: dict[str, Any], value: dict[str, Any]) -> str:
    """The values that an option takes, in a few words."""
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(schema, one) for one in value["anyOf"]))
    if "$ref" in value or "oneOf" in value:
        return "object"
    if value.get("type") == "array":
        return "list"
    return {"null": "null", "boolean": "true or false", "string": "text"}.get(
        value.get("type", ""), value.get("type", "any")
    )


def _default(value: dict[str, Any], required: bool) -> str:
    return "" if required else f"`{json.dumps(value.get('default'))}`"


def _said(value: dict[str, Any]) -> str:
    return " ".join(str(value.get("description", "")).split())


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [names, ["---"] * len(names), *cells]]


def main() -> int:
    text = reference()
    if "--check" in sys.argv:
        if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
            return 0
        print("docs/reference.md is not what the code says: run bin/reference", file=sys.stderr)
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
