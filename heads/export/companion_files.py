"""What lies beside every export: labels, how images are prepared, as JSON and as a small file of Python."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from heads.export.model_inputs import ModelInputs
from heads.export.opened_run import OpenedRun

LABELS, PREPROCESSING, PREPARE = "labels.json", "preprocessing.json", "preprocess.py"
LAYOUTS = {
    "uint8": "[N, S, S, 3] uint8, RGB, 0 to 255",
    "normalised": "[N, 3, S, S] float32, RGB, (x / 255 - mean) / std",
}


def write_companions(run: OpenedRun, inputs: ModelInputs, folder: Path) -> None:
    """`labels.json`, `preprocessing.json` and `preprocess.py`, which is a file beside this one."""
    write_json(folder / LABELS, {str(n): name for n, name in enumerate(run.model.classes)})
    write_json(
        folder / PREPROCESSING, {"inputs": [_input(one.name, one.preprocessing, inputs) for one in inputs.every]}
    )
    shutil.copyfile(Path(__file__).with_name("standalone_preprocess.py"), folder / PREPARE)


def write_json(file: Path, value: Any) -> None:
    """`value` for people and programs; what is no number is refused."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _input(name: str, recipe: Any, inputs: ModelInputs) -> dict[str, Any]:
    """One input; mean and std are applied inside where it is uint8."""
    return {
        "name": name,
        "kind": inputs.kind,
        "layout": LAYOUTS[inputs.kind],
        "scaled_inside": inputs.kind == "uint8",
        **asdict(recipe),
    }
