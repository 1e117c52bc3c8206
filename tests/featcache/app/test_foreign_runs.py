"""A run folder from a stranger, at every door: nothing of it is run, no link out of it is followed, all is escaped."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_digits
from PIL import Image
from typer.testing import CliRunner

from featcache.app.main import app
from featcache.table_cells import inert
from heads.runs import load_run

Attack = Callable[[Path, Path], None]  # of a run's folder, with the file that shows that something ran
FORMULA, ESCAPE, SCRIPT = "=cmd|'/c calc'!A0", "\x1b]0;owned\x07\x1b[2J", "<script>alert(1)</script>"


class Evil:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def a_pickle(run: Path, mark: Path) -> None:
    torch.save({"head": Evil(mark)}, run / "best_model.pth")


def a_bare_pickle(run: Path, mark: Path) -> None:
    (run / "best_model.pth").write_bytes(pickle.dumps(Evil(mark)))


def arrays_of_objects(run: Path, mark: Path) -> None:
    with np.load(run / "predictions.npz") as arrays:
        evil = {name: np.array([Evil(mark)], dtype=object) for name in arrays.files}
    np.savez(run / "predictions.npz", **evil)


def huge_arrays(run: Path, mark: Path) -> None:
    _packed(run, (1 << 38,), 0)


def inflating_arrays(run: Path, mark: Path) -> None:
    _packed(run, (1 << 28,), 1 << 28)


def _packed(run: Path, shape: tuple[int, ...], size: int) -> None:
    with np.load(run / "predictions.npz") as arrays:
        names = arrays.files
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(run / "predictions.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(size))


def code_for_a_backbone(run: Path, mark: Path) -> None:
    (run / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    edit(run / "options.json", lambda o: o["model"].update(backbone="evil:net"))
    edit(run / "summary.json", lambda s: s.update(backbone="evil:net"))
    sys.path.insert(0, str(run))


def link(name: str) -> Attack:
    def linked(run: Path, mark: Path) -> None:
        outside = mark.parent / name
        shutil.move(run / name, outside)
        (run / name).symlink_to(outside)

    return linked


def stores_elsewhere(run: Path, mark: Path) -> None:
    edit(run / "summary.json", lambda s: s.update(stores=["../../elsewhere/x.h5"]))


def deep(run: Path, mark: Path) -> None:
    (run / "summary.json").write_text("[" * 200_000)


def deep_options(run: Path, mark: Path) -> None:
    (run / "options.json").write_text('{"a":' * 200_000)


MODEL = ("predict", "export", "serve", "profile", "distill", "finetune", "load_run")
RECORD = ("predict", "export", "serve", "profile", "distill", "finetune", "combine", "soup")
ANSWERS = ("combine",)
ATTACKS: dict[str, tuple[Attack, tuple[str, ...]]] = {  # the doors that must refuse it
    "a pickle": (a_pickle, MODEL),
    "a bare pickle": (a_bare_pickle, MODEL),
    "code for a backbone": (code_for_a_backbone, ("predict", "export", "serve", "profile", "load_run")),
    "a link to a model": (link("best_model.pth"), (*RECORD, "load_run")),
    "a link to a summary": (link("summary.json"), RECORD),
    "a link to options": (link("options.json"), (*RECORD, "load_run")),
    "stores elsewhere": (stores_elsewhere, RECORD),
    "a deep summary": (deep, RECORD),
    "deep options": (deep_options, ("load_run", "predict", "serve")),
    "arrays of objects": (arrays_of_objects, ANSWERS),
    "huge arrays": (huge_arrays, ANSWERS),
    "arrays that inflate": (inflating_arrays, ANSWERS),
}
DOORS = (*RECORD, "load_run", "report")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, the configs of what goes on from them, and images."""
    place = tmp_path_factory.mktemp("made")
    images = write_digits(place / "digits", {"train": 12, "val": 5, "test": 4})
    base = {
        "model": {
            "backbone": "squeezenet1_1",
            "input_size": 32,
            "classifier_dims": ["auto", 16, 4],
            "pretrained": False,
        },
        "data": {"path": str(images), "batch_size": 16, "workers": 1},
        "training": {"epochs": 1, "learning_rate": 0.003},
        "cache": {"dir": str(place / "cache"), "batch_size": 8},
        "profile": {"iterations": 1, "warmup": 0},
    }
    tuned = {**base, "training": {"epochs": 1, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "last_block"}]}}
    rate = {**base, "training": {"epochs": 1, "learning_rate": 0.001}}
    for name, options in {"a": base, "b": rate, "tuned": tuned}.items():
        (place / f"{name}.json").write_text(json.dumps({"experiment_name": name, **options}))
    Image.new("RGB", (40, 40), "teal").save(place / "new.png")  # of which no store has a row
    for name in ("a", "b"):
        assert go(place, ["train", str(place / f"{name}.json")]).exit_code == 0
    return place


def go(place: Path, arguments: list[str]) -> Any:
    return CliRunner().invoke(app, [*arguments, "--results-dir", str(place / "results")])


def enter(door: str, place: Path) -> tuple[int, str]:
    """The exit code, and what is said."""
    image, run = str(place / "new.png"), place / "results" / "a"
    if door == "load_run":
        try:
            load_run(run)
        except Exception as error:
            return 2, str(error)
        return 0, ""
    more = {
        "predict": ["a", image],
        "export": ["a", "--to", "torch"],
        "serve": ["a"],
        "combine": ["a", "b", "--name", "both"],
        "soup": ["a", "b", "--name", "soup"],
        "distill": [str(place / "b.json"), "--teacher", "a", "--student", "squeezenet1_1"],
        "profile": ["a", "--iterations", "1"],
        "finetune": [str(place / "tuned.json"), "--from-run", str(run)],
        "report": [],
    }
    done = go(place, [door, *more[door]])
    return done.exit_code, done.output


@pytest.fixture
def attacked(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Path, Path]]:
    """A copy of `made` whose run "a" is what a stranger made of it, and the mark that nothing may leave."""
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    monkeypatch.setattr("heads.serve.bind", lambda options: (socket.socket(), "nowhere"))
    monkeypatch.setattr(sys, "path", list(sys.path))

    def attack(name: str) -> tuple[Path, Path]:
        place, mark = tmp_path / "place", tmp_path / "mark"
        shutil.copytree(made, place)
        ATTACKS[name][0](place / "results" / "a", mark)
        return place, mark

    return attack


def require_refused(name: str, doors: tuple[str, ...], place: Path, mark: Path) -> None:
    for door in doors:
        code, said = enter(door, place)
        assert code == 2, f"{name} at {door}: exit {code}, {said[-300:]}"
        assert "fault of featcache" not in said and "weights_only" not in said, f"{name} at {door}: {said[-300:]}"
        assert not mark.exists(), f"{name} ran at {door}"


@pytest.mark.parametrize(
    "name", ["a pickle", "code for a backbone", "a link to a model", "huge arrays", "a deep summary"]
)
def test_it_is_refused_where_it_matters_most(name: str, attacked: Callable[[str], tuple[Path, Path]]) -> None:
    doors = {"huge arrays": ANSWERS, "a deep summary": ("predict", "combine")}
    require_refused(name, doors.get(name, ("predict", "load_run")), *attacked(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_gets_in_at_any_door(name: str, attacked: Callable[[str], tuple[Path, Path]]) -> None:
    place, mark = attacked(name)
    require_refused(name, ATTACKS[name][1], place, mark)
    for door in set(DOORS) - set(ATTACKS[name][1]):
        code, said = enter(door, place)
        assert code in {0, 1, 2} and "fault of featcache" not in said, f"{name} at {door}: {said[-300:]}"
        assert not mark.exists(), f"{name} ran at {door}"


@pytest.mark.slow
def test_names_are_shown_and_obeyed_nowhere(made: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(made, place)
    run = place / "results" / "a"
    classes = [SCRIPT, FORMULA, ESCAPE, "a|b`*"]
    edit(run / "summary.json", lambda s: s.update(classes=classes, backbone=FORMULA + ESCAPE + SCRIPT))
    checkpoint = torch.load(run / "best_model.pth", weights_only=True)
    torch.save({**checkpoint, "classes": classes}, run / "best_model.pth")
    for door in ("report", "predict"):
        code, said = enter(door, place)
        assert code == 0 and "\x1b]" not in said and "\x1b[2J" not in said
    for file in (place / "results").glob("*.*"):
        text = file.read_text()
        assert file.suffix == ".csv" or SCRIPT not in text, file
        assert file.suffix != ".csv" or not any(
            cell.startswith("=") for line in text.splitlines() for cell in line.split(",")
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@a", "'@a"),
        ("-x", "'-x"),
        ("\x1b[2J", "\\x1b[2J"),
        ("-1.5", "-1.5"),
        ("+3e4", "+3e4"),
        ("a=b", "a=b"),
    ],
)
def test_a_cell_that_would_be_a_formula_stands_behind_an_apostrophe(text: str, shown: str) -> None:
    assert inert(text) == shown
