"""`featcache init`: what it asks, what it writes, and that what it wrote runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_runs import done, featcache
from conftest import write_digits
from typer.testing import CliRunner, Result

from featcache.app.commands import init
from featcache.app.main import app
from featcache.options import load_options


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with images in it, and a person in front of it."""
    write_digits(tmp_path / "photos", {"": 10}, classes=3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(monkeypatch: pytest.MonkeyPatch, answers: str, *flags: str) -> Result:
    """The command with these answers typed."""
    monkeypatch.setattr(init, "_at_a_terminal", lambda: True)
    return CliRunner().invoke(app, ["init", *flags], input=answers)


def written(folder: Path) -> dict[str, Any]:
    return {file.stem: load_options(file) for file in folder.glob("*.json") if not file.name.endswith(".schema.json")}


def test_four_answers_become_options_files(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = asked(monkeypatch, "nowhere\nphotos\nlarge\nsmall\ncpu\n\n")
    assert shown.exit_code == 0, shown.output
    assert "nowhere" in shown.output and "large: expected small, usual, all" in shown.output  # asked again
    assert "digit 2" in shown.output and "30 images" in shown.output  # what is there, before the next question
    found = written(Path("configs/photos"))
    assert len(found) == 4 and {one.data.path for one in found.values()} == {"photos"}
    assert {(one.experiment_name, one.model.backbone) for one in found.values()} == {
        (f"photos_{name}", name) for name in found
    }
    for file in Path("configs/photos").glob("[!o]*.json"):  # editors check it by the schema beside it
        assert (file.parent / json.loads(file.read_text())["$schema"]).is_file()
    assert "featcache benchmark configs/photos --device cpu" in shown.output


@pytest.mark.slow  # a network of the full size is built
def test_the_commands_that_it_names_take_what_it_wrote() -> None:
    shown = done("init", "--images", "photos", "--networks", "small", "--yes", "-q", "--set", "model.pretrained=false")
    assert "Where are the images" not in shown.output
    (line,) = (one.split("  ")[1] for one in shown.stdout.splitlines() if "featcache benchmark" in one)
    assert line == "featcache benchmark configs/photos"
    quick = ("model.input_size=32", "training.epochs=1", "training.seeds=1", "profile.iterations=2")
    sets = [part for one in quick for part in ("--set", one)]
    done("train", "configs/photos/resnet18.json", "-q", "--device", "cpu", *sets)
    assert (Path("results") / "photos_resnet18" / "summary.json").is_file()


@pytest.mark.parametrize(("choice", "count"), [("usual", 15), ("all", 27)])
def test_each_choice_is_what_it_says(choice: str, count: int) -> None:
    done("init", "--images", "photos", "--networks", choice, "--name", "mine", "--yes", "-q")
    assert len(written(Path("configs/mine"))) == count


def test_what_is_there_stays_as_it_is(place: Path) -> None:
    own = place / "configs" / "photos" / "own.json"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    refused = featcache("init", "--images", "photos", "--yes", "-q")
    assert refused.exit_code == 2 and "is there already" in refused.stderr and "--name" in refused.stderr
    assert [file.name for file in own.parent.iterdir()] == ["own.json"]
    assert [one.name for one in (place / "configs").iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--images, --networks, --device, --name"),
        (["--images", "photos", "--name", "x"], "--networks, --device"),
        (["--yes"], "--images DATA is not there"),
        (["--yes", "--images", "nowhere"], "nowhere"),
        (["--yes", "--images", "photos", "--name", "../x"], "no plain folder name"),
        (["--yes", "--images", "photos", "--device", "abacus"], "abacus"),
        (["--yes", "--images", "photos", "--set", "training.epoch=1"], "epochs"),
    ],
)
def test_without_a_person_nothing_is_asked_and_nothing_guessed(flags: list[str], said: str, place: Path) -> None:
    refused = featcache("init", "-q", *flags)
    assert refused.exit_code == 2 and said in refused.stderr and "Traceback" not in refused.output
    assert not (place / "configs").exists()
