"""What the documents name is there: every path, and every function that stands behind one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from import_graph import ROOT

DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PATH = re.compile(r"(?<![\w./-])(?:featcache|heads|tests|configs|bin|docs|\.ci)/[\w./*{},-]*")
NAMED = re.compile(r"`([\w/]+\.py)` `(\w+)`")  # `featcache/data/manifest.py` `load_manifest`

# Rooms that docs/architecture.md keeps a place for.
TO_COME = {"featcache/cluster/", "featcache/statistics/"}
# What `featcache init` makes for a user.
MADE = {"configs/photos", "configs/NAME"}
# The keys of an `{a,b,c}` in a path are not paths of their own.
ENDINGS = ".,:;-"


def missing(text: str) -> list[str]:
    """The paths in `text` that are not there, nor to come."""
    found = dict.fromkeys(match.rstrip(ENDINGS) for match in PATH.findall(text))
    return [path for path in found if path not in TO_COME | MADE and not all(map(_exists, _alternatives(path)))]


def unknown(text: str) -> list[str]:
    """What stands behind a path and is not defined in that file."""
    return [f"{path}: {name}" for path, name in NAMED.findall(text) if name not in _defined(ROOT / path)]


def _alternatives(path: str) -> list[str]:
    """`a/{b,c}` is `a/b` and `a/c`."""
    braces = re.search(r"\{([^{}]*)\}", path)
    if braces is None:
        return [path.partition("{")[0]]
    return [p for one in braces[1].split(",") for p in _alternatives(path.replace(braces[0], one, 1))]


def _exists(path: str) -> bool:
    return any(ROOT.glob(path.rstrip("/")))


def _defined(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_every_path_that_a_document_names_is_there(document: Path) -> None:
    assert missing(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_what_a_document_names_behind_a_file_is_in_it(document: Path) -> None:
    assert unknown(document.read_text(encoding="utf-8")) == []


def test_the_floor_plan_is_looked_at_closely() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(PATH.findall(text)) > 30
    assert len(NAMED.findall(text)) > 15
    assert all(room in text for room in TO_COME)


def test_a_path_that_is_gone_is_found() -> None:
    assert missing("see `featcache/nowhere.py`, heads/runs/run.py and docs/no.md.") == [
        "featcache/nowhere.py",
        "docs/no.md",
    ]
    assert missing("`heads/runs/{run,nobody}.py`") == ["heads/runs/{run,nobody}.py"]
    assert missing("`heads/runs/*.py`, https://example.org/heads/nowhere, `featcache/store`") == []
    assert unknown("`heads/runs/run.py` `Run`, `heads/runs/run.py` `Nobody`") == ["heads/runs/run.py: Nobody"]
