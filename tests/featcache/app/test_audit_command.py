"""`featcache audit` on real digits with planted faults: what it finds, writes, and that its list cleans them up."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import featcache
from conftest import TINY, write_digits
from PIL import Image
from typer.testing import Result

from featcache.audit import findings, write_clean_list
from featcache.audit.audit_json import load_audit
from featcache.audit.clean_list_entries import Excluded
from featcache.audit.evidence import Evidence
from featcache.errors import OptionsError
from featcache.options.loading import parse_options

Config = Callable[..., dict[str, Any]]
ODD = ('leak, "quoted".png', "#leak.png", "leak\nof lines.png")


@dataclass(frozen=True)
class Planted:
    """A data set with faults that are known, configs for it, and what the audit of it said."""

    root: Path
    configs: Path
    results: Path
    leaked: set[str]
    near: set[str]
    flipped: set[str]
    corrupt: set[str]
    done: Result

    def audit(self, *arguments: str | Path, results: str = "results") -> Result:
        folder = self.results.with_name(results)
        return featcache("audit", self.configs, "--allow-custom", "--results-dir", folder, "-q", *arguments)

    def found(self, results: str = "results") -> dict[str, Any]:
        (file,) = self.results.with_name(results).glob("audit/*.json")
        found: dict[str, Any] = json.loads(file.read_text())
        assert load_audit(file).as_dict() == found
        return found


def plant(root: Path, near: int) -> tuple[set[str], set[str], set[str], set[str]]:
    """Copies of 30 training images in val and test (`near` of them encoded anew), 20 wrong labels, 5 corrupt files."""
    rng = np.random.default_rng(3)
    train = sorted((root / "train").glob("*/*.png"))
    chosen = [train[i] for i in rng.permutation(len(train))]
    leaked, encoded, flipped, corrupt = set(), set(), set(), set()
    for k, file in enumerate(chosen[:30]):
        folder = root / ("val", "test")[k % 2] / file.parent.name
        copy = folder / (ODD[k] if k < len(ODD) else f"leak {k}.png")
        if k >= 30 - near:
            copy = copy.with_suffix(".jpg")
            Image.open(file).save(copy, quality=90)
            encoded.add(copy.relative_to(root).as_posix())
        else:
            shutil.copy(file, copy)
        leaked.add(copy.relative_to(root).as_posix())
    for k, file in enumerate(chosen[30:50]):
        label = (int(file.parent.name[-1]) + rng.integers(1, 6)) % 6
        wrong = root / "train" / f"digit {label}" / f"wrong {k}.png"
        file.rename(wrong)
        flipped.add(wrong.relative_to(root).as_posix())
    for k in range(5):
        file = root / ("train", "val", "test")[k % 3] / f"digit {k}" / f"corrupt {k}.png"
        file.write_bytes(chosen[60 + k].read_bytes()[: 40 + k])
        corrupt.add(file.relative_to(root).as_posix())
    return leaked, encoded, flipped, corrupt


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    root = write_digits(folder / "six [digits]", {"train": 80, "val": 20, "test": 20}, classes=6)
    faults = plant(root, near=8)
    networks = {"squeeze": {"backbone": "squeezenet1_1"}, "tiny": {"backbone": TINY, "pretrained": True}}
    for name, model in networks.items():
        options = {
            "experiment_name": name,
            "model": {"input_size": 32, "pretrained": False, **model},
            "data": {"path": str(root), "workers": 2, "augmentations": ["rotation"]},
            "cache": {"dir": str(folder / "cache")},
            "profile": {"iterations": 1, "warmup": 0},
        }
        (folder / "configs").mkdir(exist_ok=True)
        (folder / "configs" / f"{name}.json").write_text(json.dumps(options))
    results = folder / "results"
    clean = folder / "clean.csv"
    done = featcache("audit", folder / "configs", "--allow-custom", "--results-dir", results, "--write-clean", clean)
    return Planted(root, folder / "configs", results, *faults, done)


def test_every_planted_leak_and_corrupt_file_is_found(planted: Planted) -> None:
    assert planted.done.exit_code == 0, planted.done.output  # faults of the data are no failure of the command
    found = planted.found()
    leaked = {*found["leaked"]["val"], *found["leaked"]["test"]}
    assert planted.leaked - planted.near <= leaked
    assert planted.near <= leaked
    assert len(leaked) < 1.2 * len(planted.leaked)  # and little else
    assert {q["name"] for q in found["quarantined"]} == planted.corrupt
    assert len(found["exact"]) == 22
    assert all(g["across_splits"] for g in found["exact"])


def test_most_wrong_labels_are_among_the_first_suspects(planted: Planted) -> None:
    first = [s["name"] for s in planted.found()["suspects"][:40]]
    assert len(planted.flipped & set(first)) >= 15


def test_the_summary_says_what_was_found_and_what_to_do(planted: Planted) -> None:
    said = " ".join(planted.done.output.split())
    for words in (
        "6 classes",
        "22 groups of exact copies (22 across splits)",
        "have a copy in train",
        "Most suspect labels",
        "corrupt 0.png",
        "six [digits]",  # not taken for markup
        "--set data.exclude=",
    ):
        assert words in said
    assert not [line for line in planted.done.output.splitlines() if "Traceback" in line]


def test_only_plain_views_are_extracted(planted: Planted) -> None:
    said = featcache("cache", "list", "--cache-dir", planted.results.with_name("cache")).output
    assert [line.split()[4:6] for line in said.splitlines()[1:-1]] == [["728", "-"]] * 2  # distinct contents, no views


def test_the_clean_list_cleans_up(planted: Planted) -> None:
    before = {p: p.read_bytes() for p in planted.root.rglob("*") if p.is_file()}
    clean = planted.results.with_name("clean.csv")
    with clean.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert set(rows[0]) == {"path", "reason", "sha256"}
    assert planted.corrupt <= {r["path"] for r in rows}
    assert not planted.leaked & {r["path"] for r in rows}  # evaluation copies stay, training copies go
    second = planted.audit("--set", f"data.exclude={clean}", results="second")
    assert second.exit_code == 0, second.output
    found = planted.found("second")
    assert found["exact"] == found["quarantined"] == []
    assert found["leaked"] == {"val": [], "test": []}
    assert sum(found["data"]["images"].values()) == len(before) - len(rows)
    assert {p: p.read_bytes() for p in planted.root.rglob("*") if p.is_file()} == before


def test_odd_names_survive_the_round_trip(planted: Planted) -> None:
    clean = planted.results.with_name("odd.csv")
    odd = [name for name in planted.leaked if Path(name).name in ODD]
    assert len(odd) == 3
    write_clean_list([Excluded(name, "odd", "") for name in odd], clean)
    done = planted.audit("--set", f"data.exclude={clean}", results="odd")
    assert done.exit_code == 0, done.output
    found = planted.found("odd")
    assert len(found["exact"]) == 22 - len(odd)
    assert not set(odd) & {*found["leaked"]["val"], *found["leaked"]["test"]}


def test_suspects_are_left_out_when_asked(planted: Planted, tmp_path: Path) -> None:
    flagged = {s["name"] for s in planted.found()["suspects"] if s["flagged"]}
    done = planted.audit("--write-clean", tmp_path / "clean.csv", "--with-suspects")
    assert done.exit_code == 0, done.output
    with (tmp_path / "clean.csv").open(newline="") as stream:
        assert flagged <= {row["path"] for row in csv.DictReader(stream)}


def test_a_second_list_adds_to_the_one_in_use(planted: Planted, tmp_path: Path) -> None:
    clean = tmp_path / "clean.csv"
    mine = sorted(planted.corrupt)[:2]
    write_clean_list([Excluded(name, "I looked", "") for name in mine], clean)
    before = clean.read_bytes()
    done = planted.audit("--set", f"data.exclude={clean}", "--write-clean", clean, results="third")
    assert done.exit_code == 0, done.output
    assert clean.read_bytes().startswith(before)
    said = " ".join(done.output.split())
    with clean.open(newline="") as stream:
        names = [row["path"] for row in csv.DictReader(stream)]
    assert set(names) >= planted.corrupt
    assert f"{len(names) - 2} files added to the 2 that it listed, which stay" in said
    beside = planted.audit("--set", f"data.exclude={clean}", "--write-clean", tmp_path / "more.csv", results="fourth")
    assert f"put it together with data.exclude ({clean})" in " ".join(beside.output.split())


def test_a_planted_finding_arrives_by_the_command(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(evidence: Evidence) -> list[str]:
        return [i.name for i in evidence.manifest.images if i.name in planted.leaked]

    entry = findings.Finding("odd", "Odd images", lambda found: [f"{len(found.lines('odd'))} odd images."], find)
    monkeypatch.setattr(findings, "FINDINGS", (*findings.FINDINGS, entry))
    done = planted.audit(results="odd finding")
    assert done.exit_code == 0, done.output
    found = planted.found("odd finding")
    (record,) = found["further"]
    assert (record["name"], record["title"], set(record["lines"])) == ("odd", "Odd images", planted.leaked)
    assert found["warnings"][-1] == "30 odd images."
    assert "- 30 odd images." in done.output
    lines = done.output.splitlines()
    place = lines.index("Odd images")
    assert "- and 20 more" in lines[place:] and place < lines.index("Unreadable")


@pytest.mark.parametrize("target", ["run.json", "digits/train/digit 0/000.png", "digits/clean.csv", ".", "run.json/x"])
def test_a_list_never_takes_the_place_of_something_else(tmp_path: Path, config: Config, target: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(config()))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    done = featcache(
        "audit", tmp_path / "run.json", "--results-dir", tmp_path / "results", "--write-clean", tmp_path / target
    )
    assert done.exit_code == 2, done.output
    assert f"--write-clean {tmp_path / target}: " in done.output
    assert "Expected a" in done.output
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before  # and no work was done


def test_the_demo_data_takes_no_list_either(tmp_path: Path, config: Config) -> None:
    (tmp_path / "run.json").write_text(json.dumps(config(data={"path": "demo:digits"})))
    target = tmp_path / "cache" / "demo" / "digits" / "clean.csv"
    done = featcache("audit", tmp_path / "run.json", "--write-clean", target)
    assert done.exit_code == 2, done.output
    assert "lies in the data folder" in done.output


def test_a_class_that_cannot_be_read_at_all_is_a_finding(tmp_path: Path, config: Config, digits: Path) -> None:
    (digits / "val" / "digit 1" / "copy.png").write_bytes((digits / "train" / "digit 1" / "000.png").read_bytes())
    for file in (digits / "test" / "digit 0").iterdir():
        file.write_bytes(b"no image")
    (tmp_path / "a.json").write_text(json.dumps(config("a")))
    (tmp_path / "b.json").write_text(json.dumps(config("b", model={"backbone": TINY, "pretrained": True})))
    arguments = ("audit", tmp_path / "a.json", tmp_path / "b.json", "--allow-custom", "-q")
    for results in (tmp_path / "first", tmp_path / "second"):  # the second with all in the store
        done = featcache(*arguments, "--results-dir", results)
        assert done.exit_code == 0, done.output
        (written,) = results.glob("audit/*.json")
        found = load_audit(written)
        assert len(found.backbones) == 2
        assert [q.name for q in found.quarantined] == [f"test/digit 0/{i:03d}.png" for i in range(4)]
        assert found.balance[0].test == 0
        assert found.leaked.val == ("val/digit 1/copy.png",)
        assert "No image of 'digit 0' in test can be read" in " ".join(done.output.split())


def test_data_of_which_nothing_can_be_read_is_refused(tmp_path: Path, config: Config, digits: Path) -> None:
    for file in digits.rglob("*.png"):
        file.write_bytes(b"no image")
    (tmp_path / "run.json").write_text(json.dumps(config()))
    done = featcache("audit", tmp_path / "run.json", "--results-dir", tmp_path / "results", "-q")
    assert done.exit_code == 2, done.output
    assert "can be read. The list is" in " ".join(done.output.split())


def test_an_audit_that_cannot_be_written_is_seen_all_the_same(tmp_path: Path, config: Config) -> None:
    (tmp_path / "run.json").write_text(json.dumps(config()))
    (tmp_path / "results").write_text("a file")
    clean = tmp_path / "clean.csv"
    done = featcache(
        "audit", tmp_path / "run.json", "--results-dir", tmp_path / "results", "-q", "--write-clean", clean
    )
    assert done.exit_code == 2, done.output
    assert "0 groups of exact copies" in done.output
    assert "Choose another" in done.output
    assert clean.exists()


def test_without_configs_the_best_runs_are_read(tmp_path: Path, config: Config, digits: Path) -> None:
    clean = tmp_path / "clean.csv"
    write_clean_list([Excluded("train/digit 2/000.png", "I looked", "")], clean)
    (digits / "train" / "digit 0" / "broken.png").write_bytes(b"no image")
    shutil.copy(digits / "train" / "digit 1" / "000.png", digits / "test" / "digit 1" / "same.png")
    file = tmp_path / "run.json"
    file.write_text(json.dumps(config(data={"max_bad_fraction": 0.5, "exclude": str(clean)})))
    results = tmp_path / "results"
    assert featcache("train", file, "--results-dir", results, "-q").exit_code == 0
    shutil.rmtree(digits)  # the stores say enough
    refused = featcache("audit", "--results-dir", results, "--write-clean", digits / "clean.csv")
    assert refused.exit_code == 2
    assert "lies in the data folder" in refused.output
    done = featcache("audit", "--results-dir", results, "--write-clean", clean)
    assert done.exit_code == 0, done.output
    with clean.open(newline="") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == [
            *("train/digit 2/000.png", "train/digit 0/broken.png", "train/digit 1/000.png")
        ]
    beside = featcache("audit", "--results-dir", results, "--write-clean", tmp_path / "beside.csv")
    assert f"put it together with data.exclude ({clean})" in " ".join(beside.output.split())
    (written,) = results.glob("audit/digits-*.json")
    found = load_audit(written)
    assert [b.backbone for b in found.backbones] == ["squeezenet1_1"]
    assert found.backbones[0].store in json.loads((results / "run" / "summary.json").read_text())["stores"]
    assert found.leaked.test == ("test/digit 1/same.png",)
    assert [b.name for b in found.quarantined] == ["train/digit 0/broken.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--with-suspects"], "goes with --write-clean FILE"),
        (["--device", "cpu"], "go with CONFIG"),
        (["--set", "data.batch_size=4"], "go with CONFIG"),
        ([], "holds no finished run"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = featcache("audit", "--results-dir", tmp_path / "none", *arguments)
    assert done.exit_code == 2, done.output
    assert words in " ".join(done.output.split())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["audit", "figures", "report.md"])
def test_a_run_cannot_take_the_place_of_what_results_holds(config: Config, name: str) -> None:
    with pytest.raises(OptionsError, match="which results/ needs for itself"):
        parse_options(config(name))


def test_configs_on_different_data_are_refused(tmp_path: Path, config: Config) -> None:
    (tmp_path / "a.json").write_text(json.dumps(config("a")))
    (tmp_path / "b.json").write_text(json.dumps(config("b", data={"path": str(tmp_path)})))
    done = featcache("audit", tmp_path / "a.json", tmp_path / "b.json", "--results-dir", tmp_path / "results")
    assert done.exit_code == 2
    assert "are on different data: data.path is" in " ".join(done.output.split())


def test_a_backbone_that_fails_does_not_stop_the_others(tmp_path: Path, config: Config) -> None:
    (tmp_path / "a.json").write_text(json.dumps(config("a")))
    (tmp_path / "b.json").write_text(json.dumps(config("b", model={"pretrained": True})))
    done = featcache("audit", tmp_path / "a.json", tmp_path / "b.json", "--results-dir", tmp_path / "results", "-q")
    assert done.exit_code == 1
    assert "missing file is squeezenet1_1" in " ".join(done.output.split())
    (written,) = (tmp_path / "results").glob("audit/*.json")
    assert [b.backbone for b in load_audit(written).backbones] == ["squeezenet1_1"]


def test_with_folds_val_is_no_split_that_leaks(planted: Planted) -> None:
    done = planted.audit("--set", "data.folds=3", results="folded")
    assert done.exit_code == 0, done.output
    assert planted.found("folded")["folds"]
    lines = planted.found("folded")["warnings"]
    assert any("in train and val" in line and "a near copy that folds may part" in line for line in lines)
    assert not any(" a copy in train," in line for line in lines)
    assert any("test images of" in line and "a copy in train or val" in line for line in lines)
