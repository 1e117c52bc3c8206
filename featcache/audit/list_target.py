"""Where an audit may write a list that an option names: outside of the data, in a place that can be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from featcache.errors import OptionsError


@dataclass(frozen=True)
class ListTarget:
    """A file as the user named it."""

    option: str  # by which
    file: Path
    example: str  # a file's name

    def resolved(self) -> Path:
        """The file that is meant, so that a link stays one."""
        try:
            return self.file.resolve()
        except RuntimeError as error:  # links in a loop
            raise self.unwritable(str(error)) from None

    def require_place(self, data: Iterable[Path]) -> Path:
        """`resolved`; raises OptionsError where it is a folder, or lies in one of the folders `data`."""
        target = self.resolved()
        for root in data:
            if target.is_relative_to(root.resolve()):
                raise OptionsError(
                    f"{self.option} {self.file}: lies in the data folder {root}, where nothing is ever changed. "
                    "Expected a place outside of it: name another file."
                )
        if target.is_dir():
            raise OptionsError(
                f"{self.option} {self.file}: is a folder. Expected a file to write the list to: name one, such as "
                f"{self.file / self.example}."
            )
        return target

    def probe(self) -> None:
        """Raise OSError where the file could not be written; nothing is left behind."""
        target = self.resolved()
        place = next(folder for folder in target.parents if folder.exists())
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(None, "the file is read-only")
        # Says more than permissions, which root and odd file systems pass over.
        with tempfile.TemporaryFile(dir=place):
            pass

    def unwritable(self, reason: str | None) -> OptionsError:
        """What to say where it cannot be written."""
        return OptionsError(
            f"{self.option} {self.file}: cannot be written ({reason}). Expected a file in a folder that can be "
            "written: name another."
        )
