"""The options files that `featcache init` writes: those of `configs/` with a user's images and name in them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from featcache.errors import OptionsError, OutputError

Networks = Literal["small", "usual", "all"]
# Which files each choice takes, of folders of `configs/`; an empty list is all of them.
CHOICES: dict[Networks, dict[str, tuple[str, ...]]] = {
    "small": {"phase1": ("mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet50")},
    "usual": {"phase1": ()},
    "all": {"phase1": (), "phase1-foundation": ()},
}
SCHEMA = "options.schema.json"


@dataclass(frozen=True)
class StarterConfigs:
    """What was asked for."""

    images: str  # as data.path names them
    networks: Networks
    name: str
    overrides: Sequence[str] = ()  # of every file, as --set gives them

    @property
    def folder(self) -> Path:
        """Where they go."""
        return Path("configs") / self.name

    def documents(self) -> dict[str, dict[str, Any]]:
        """Each file by its name, checked; raises OptionsError for what they would be refused for."""
        from featcache.options import apply_overrides, parse_options, read_json

        found = {}
        for file in config_files_of(self.networks):
            document = read_json(file)
            document |= {
                "$schema": SCHEMA,
                "experiment_name": f"{self.name}_{document['experiment_name'].split('_', 1)[1]}",
            }
            document["data"]["path"] = self.images
            apply_overrides(document, self.overrides)
            parse_options(document, str(self.folder / file.name))
            found[file.name] = document
        return found

    def require_free(self) -> None:
        """Raise OutputError where something is there already, OptionsError where no folder can be called so."""
        from featcache.options import plain_name

        try:
            plain_name(self.name, "--name")
        except ValueError as error:
            raise OptionsError(f"init: {error}.") from None
        if os.path.lexists(self.folder):
            raise OutputError(f"{self.folder}: is there already, and is left as it is. Choose another --name.")

    def write(self) -> list[Path]:
        """Write all of them and their schema, or nothing; the options files."""
        from featcache.options import options_schema

        documents = self.documents()
        self.require_free()
        beside = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.tmp")
        try:
            beside.mkdir(parents=True)
            for name, document in {**documents, SCHEMA: options_schema()}.items():
                (beside / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            beside.rename(self.folder)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise OutputError(
                f"{self.folder}: cannot be written ({error.strerror}). Go to a folder that you can write to."
            ) from None
        return [self.folder / name for name in documents]


def config_files_of(networks: Networks) -> list[Path]:
    """The files of `configs/` that a choice begins with."""
    from featcache.options import shipped_config

    return [
        file
        for folder, names in CHOICES[networks].items()
        for file in sorted(shipped_config(folder).glob("*.json"))
        if not names or file.stem in names
    ]


def name_for(images: str) -> str:
    """A name that a data set might have: that of its folder or file."""
    last = Path(images.replace(":", "/")).name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", last).strip("-") or "images"
