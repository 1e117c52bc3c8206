"""`--json`, the same in every command: its answer as JSON, alone on standard output or in a file beside what is shown.

A command takes the shared option "json" (or "json_file", where it has always taken a FILE) and says what it found
once, by `Shared.answer`; what that has its decorator says in words (`answers`). What it prints for people is left out
where the JSON is on standard output; notices and progress are on standard error as ever. `Command` lets `--json FILE`
stand without its FILE at the end of a line, so that one rule holds for all.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand

from featcache.errors import OutputError

STDOUT = "-"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
JsonFile = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="As JSON there too; without FILE, or -: printed, and nothing else."),
]

WITHOUT = {
    "init": "asks, and shows what `show --json` has",
    "schema": "is JSON in any case",
    "serve": "answers by HTTP, in JSON",
}


class Command(TyperCommand):
    """A command whose `--json FILE` may leave FILE out, at the end or in front of another option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, once the FILE that was left out is named as standard output."""
        if any("--json" in p.opts and not getattr(p, "is_flag", False) for p in self.params):
            args = [part for place, one in enumerate(args) for part in (one, *_left_out(one, args[place + 1 :]))]
        return super().parse_args(ctx, args)


def _left_out(one: str, behind: Sequence[str]) -> tuple[str, ...]:
    bare = one == "--json" and (not behind or (behind[0].startswith("-") and behind[0] != STDOUT))
    return (STDOUT,) if bare else ()


@contextmanager
def answering(to: str | None, answers: list[Any]) -> Iterator[None]:
    """Inside, nothing reaches standard output where that is for JSON; at the end, however it comes, the last of
    `answers` is written `to` its place. Raises OutputError, before any work, where that file cannot be written."""
    if to is None:
        yield
        return
    from featcache.atomic import require_writable, write_named

    if to != STDOUT:
        require_writable(Path(to), "--json")
    out = sys.stdout
    try:
        with redirect_stdout(_Nobody()) if to == STDOUT else nullcontext():
            yield
    finally:
        if answers:
            text = json.dumps(plain(answers[-1]), indent=1, allow_nan=False) + "\n"
            if to == STDOUT:
                _print(out, text)
            else:
                write_named(Path(to), text, "--json")


def _print(out: TextIO, text: str) -> None:
    """All of it, now: what cannot be written must not end as if it had been."""
    try:
        out.write(text)
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"--json: standard output cannot be written ({error.strerror}). Name another file.") from None


def plain(value: Any) -> Any:
    """As JSON has it, every number in full; what is no finite number is null. Raises TypeError for what is none of
    numbers, texts, paths, dataclasses and collections of them."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and type(value) in (int, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "tolist"):  # numpy's
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return [plain(one) for one in sorted(value)]
    raise TypeError(f"{type(value).__name__} {value!r:.80}")


class _Nobody(io.TextIOBase):
    """A standard output that nobody reads."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Nothing is kept."""
        return len(text)
