"""The rules of the house that the import contracts cannot say: sizes, names, doors, who prints, docstrings.

A file or function that has to be longer says so beside it: `# long: why`, before a file's first import or on the line
above a function (or its first decorator).
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import LONG
from import_graph import ROOT, STAGES

FILE_LINES, FUNCTION_LINES = 300, 60
FIRST_LINE = 120  # characters of a module's docstring
REASON = "# long: "

# Files of one name that mean the same thing in each of their places, and why each needs it.
SAME_NAME: dict[str, str] = {}
# Each is named as the command that it is, whatever other files are called.
COMMANDS = "featcache/app/commands"
# The program's own beginning, like the console script in pyproject.toml.
PROGRAM = "featcache/__main__.py"

SPEAKS = {
    "print",
    "exit",
    "quit",
    "SystemExit",
    "typer.echo",
    "typer.Exit",
    "sys.exit",
    "sys.stdout.write",
    "sys.stderr.write",
}


@cache
def files() -> tuple[Path, ...]:
    return tuple(sorted(file for stage in STAGES for file in (ROOT / stage).rglob("*.py")))


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def said(file: Path, line: int | None = None) -> str:
    return file.relative_to(ROOT).as_posix() + (f":{line}" if line is not None else "")


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def reasoned(lines: list[str]) -> bool:
    """Whether one of these lines gives a reason, in words."""
    return any(len(line.partition(REASON)[2].split()) >= 3 for line in lines if line.lstrip().startswith(REASON))


def too_long(file: Path) -> Iterator[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    imports = [n.lineno for n in tree(file).body if isinstance(n, ast.Import | ast.ImportFrom)]
    if len(lines) > FILE_LINES and not reasoned(lines[: min(imports, default=1)]):
        yield f"{said(file)}: {len(lines)} lines"
    for function in functions(file):
        assert function.end_lineno is not None
        length = function.end_lineno - function.lineno + 1
        first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        if length > FUNCTION_LINES and not reasoned(lines[first - 2 : first - 1]):
            yield f"{said(file, function.lineno)}: {function.name} has {length} lines"


def passed_doors(file: Path) -> Iterator[str]:
    """Imports of another room's inside; every import is written in full."""
    own = file.relative_to(ROOT).with_suffix("").parts[:2]
    for node in ast.walk(tree(file)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"{said(file, node.lineno)}: a relative import"
            names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
        for name in names:
            parts = name.split(".")
            if parts[0] not in STAGES or len(parts) < 3 or tuple(parts[:2]) == own:
                continue
            place = ROOT.joinpath(*parts[:3])
            named_at_door = parts[2] in at_the_door(parts[0], parts[1])
            if not named_at_door and (place.with_suffix(".py").is_file() or place.is_dir()):
                yield f"{said(file, node.lineno)}: {name}"


@cache
def at_the_door(stage: str, room: str) -> frozenset[str]:
    """The names in a room's `__all__`."""
    door = ROOT / stage / room / "__init__.py"
    if not door.is_file():
        return frozenset()
    lists = [n.value for n in tree(door).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    return frozenset(name for value in lists for name in ast.literal_eval(value))


def spoken(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in SPEAKS:
            yield f"{said(file, node.lineno)}: {called}"


def test_files_and_functions_are_short_or_say_why_not() -> None:
    assert [fault for file in files() for fault in too_long(file)] == []


def test_templates_styles_and_scripts_are_short() -> None:
    assets = [f for stage in STAGES for f in (ROOT / stage).rglob("*") if f.suffix in {".js", ".css", ".j2"}]
    assert len(assets) >= 5
    assert {said(f): n for f in assets if (n := len(f.read_text().splitlines())) > FILE_LINES} == {}


def test_a_file_name_means_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in files():
        if file.name not in {"__init__.py", "__main__.py"} and file.parent != ROOT / COMMANDS:
            places[file.name].append(said(file))
    twice = {name: them for name, them in places.items() if len(them) > 1}
    assert {name: them for name, them in twice.items() if name not in SAME_NAME} == {}
    assert SAME_NAME.keys() <= twice.keys(), "an exception that nothing needs any more"


def test_the_long_test_files_are_there() -> None:
    assert set(LONG) <= {file.name for file in (ROOT / "tests").rglob("test_*.py")}


def test_rooms_are_entered_by_their_doors() -> None:
    found = [fault for file in files() for fault in passed_doors(file) if said(file) != PROGRAM]
    assert found == []


def test_only_the_command_line_prints_and_exits() -> None:
    app = ROOT / "featcache" / "app"
    assert [fault for file in files() if not file.is_relative_to(app) for fault in spoken(file)] == []


def test_every_file_says_what_it_is_for_in_one_line() -> None:
    first = {said(file): (ast.get_docstring(tree(file)) or "").partition("\n")[0] for file in files()}
    assert {name: line for name, line in first.items() if not 10 < len(line) < FIRST_LINE} == {}


@pytest.mark.parametrize(
    ("rule", "text", "faults"),
    [
        (too_long, "def f():\n" + "    x = 1\n" * 60, 1),
        (too_long, "# long: it reads from top to bottom\ndef f():\n" + "    x = 1\n" * 60, 0),
        (too_long, "# long: because\ndef f():\n" + "    x = 1\n" * 60, 1),
        (too_long, "import os\n" + "x = 1\n" * 300, 1),
        (too_long, "# long: one table, which would only be torn apart\nimport os\n" + "x = 1\n" * 300, 0),
        (passed_doors, "from featcache.store.layout import Appender", 1),
        (passed_doors, "from featcache.store import layout", 1),
        (passed_doors, "import featcache.store.layout", 1),
        (passed_doors, "from . import layout", 1),
        (passed_doors, "from featcache.store import FeatureStore", 0),
        (passed_doors, "from heads.runs.run import Run", 0),  # its own room
        (spoken, "print('here')", 1),
        (spoken, "import sys\nsys.exit(1)", 1),
        (spoken, "raise SystemExit(2)", 1),
        (spoken, "log.info('here')", 0),
    ],
)
def test_the_rules_find_what_breaks_them(
    rule: object, text: str, faults: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("featcache/store", "heads/runs"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "featcache/store/__init__.py").write_text("__all__ = ['FeatureStore']\n")
    (tmp_path / "featcache/store/layout.py").touch()
    file = tmp_path / "heads" / "runs" / "new.py"
    file.write_text(text)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert callable(rule)
    try:
        at_the_door.cache_clear()
        assert len({fault.split(": ")[0] for fault in rule(file)}) == faults
    finally:
        at_the_door.cache_clear()
