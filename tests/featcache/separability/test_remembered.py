"""What a Phase 1 run says of its feature map: all measures of the training features, looked at once and remembered."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from featcache.errors import DiskFullError
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from featcache.records import ImageRecord
from featcache.separability import LabelledFeatures, measure
from featcache.separability.measures import MEASURES
from heads import train_model
from heads.leaderboard.board import write_leaderboard
from heads.leaderboard.ranking import leaderboard
from heads.runs.predictions import load_probe
from heads.runs.run import Run, finished_runs

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Run]

TWO = f"{TINY}+squeezenet1_1"
SCHEDULE = [{"epoch": 1, "unfreeze": "last_block"}]


@pytest.fixture
def train(config: Config, tmp_path: Path) -> Train:
    """A quick run on the digits, of a tiny network unless another is named."""

    def run(name: str = "run", **sections: dict[str, Any]) -> Run:
        sections["model"] = {"backbone": TINY, **sections.get("model", {})}
        sections["training"] = {"epochs": 2, **sections.get("training", {})}
        return train_model(config(name, **sections), results_dir=tmp_path / "results", allow_custom=True)

    return run


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each measuring looked at."""
    calls: list[int] = []

    def counted(features: NDArray[np.float32], labels: NDArray[np.int64], groups: None) -> LabelledFeatures:
        calls.append(len(labels))
        return LabelledFeatures(features, labels, groups)

    monkeypatch.setattr("featcache.separability.remembered.LabelledFeatures", counted)
    return calls


def options_of(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "options.json").read_text())
    return found


def stored(run: Run) -> tuple[NDArray[np.float32], tuple[ImageRecord, ...]]:
    """The features of a run's training images as its stores hold them, and the images."""
    parts = [extract(part, allow_custom=True) for part in parse_options(options_of(run)).parts]
    images = tuple(sorted(parts[0].manifest.of("train"), key=lambda i: (i.sha256, i.label, i.name)))
    return np.concatenate([p.store.read([i.sha256 for i in images]) for p in parts], axis=1), images


def expected(run: Run, images: tuple[ImageRecord, ...] | None = None) -> LabelledFeatures:
    """Of some of the training images, or of all."""
    features, every = stored(run)
    chosen = [n for n, image in enumerate(every) if images is None or image in images]
    return LabelledFeatures(features[chosen], np.array([every[n].label for n in chosen]))


def figures(found: LabelledFeatures) -> dict[str, float | None]:
    return measure(found.features, found.labels)


def says(run: Run) -> dict[str, float | None]:
    found: dict[str, float | None] = json.loads((run.folder / "summary.json").read_text())["separability"]
    return found


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"backbone": TWO}},
        {"data": {"folds": 3}},
        {"data": {"views": 3, "augmentations": ["horizontal_flip"]}},  # the plain view counts
    ],
    ids=["plain", "joined", "folds", "views"],
)
def test_a_run_has_every_measure_of_its_training_features(train: Train, digits: Path, sections: dict[str, Any]) -> None:
    for label in range(4):  # under a wrong label, where a probe looks for them in vain
        image = digits / "train" / f"digit {label}" / f"00{label}.png"
        image.rename(digits / "train" / f"digit {(label + 1) % 4}" / f"{label} is wrong.png")
    run = train(**sections)
    found, (_, images) = expected(run), stored(run)
    assert len(found.labels) == len(images) == 48
    assert says(run) == figures(found)
    assert set(MEASURES) < set(says(run))
    probe = load_probe(run.folder / "predictions.npz")
    assert probe.images == tuple(i.name for i in images)
    assert np.array_equal(probe.right, found.probe_right)
    assert 0 < probe.right.mean() == says(run)["linear_probe"] < 1


def test_the_leaderboard_has_the_measures_of_each_run_and_its_file_reads_back(train: Train, tmp_path: Path) -> None:
    runs = [train("tiny"), train("joined", model={"backbone": TWO})]
    tuned = train("tuned", training={"unfreeze_schedule": SCHEDULE}, model={"backbone": "networks:four_stages"})
    file = tmp_path / "leaderboard.csv"
    write_leaderboard(leaderboard(finished_runs(tmp_path / "results")), file)
    rows = {row["run"]: row for row in csv.DictReader(file.read_text().splitlines())}
    assert set(rows) == {"tiny", "joined", "tuned"}
    for run in runs:
        assert {m: float(rows[run.folder.name][m]) for m in MEASURES} == {m: says(run)[m] for m in MEASURES}
    assert {rows[tuned.folder.name][m] for m in MEASURES} == {""}


def test_phase_2_has_none(train: Train) -> None:
    tuned = train(training={"unfreeze_schedule": SCHEDULE}, model={"backbone": "networks:four_stages"})
    assert tuned.summary["phase"] == 2
    assert tuned.summary["separability"] is None
    with pytest.raises(KeyError):
        load_probe(tuned.folder / "predictions.npz")
    (row,) = leaderboard([tuned]).rows
    assert {row.more[m] for m in MEASURES} == {None}


def test_files_that_could_not_be_read_have_no_part_in_it(train: Train, digits: Path) -> None:
    (digits / "train" / "digit 0" / "bad.png").write_bytes(b"no image")
    run = train(data={"max_bad_fraction": 0.5})
    assert len(run.summary["data"]["bad"]) == 1
    assert says(run) == figures(expected(run))
    assert says(run)["n"] == 48


def test_logistic_regression_on_the_training_images_answers_val(train: Train) -> None:
    run = train()
    assert probed_on_val(run) == answers(run)
    right = load_probe(run.folder / "predictions.npz", "logistic_probe").right
    assert right.mean() == says(run)["logistic_probe"]
    (row,) = leaderboard([run]).rows
    assert row.more["logistic_probe_val"] == run.summary["logistic_probe"]["val"]["top1"]["mean"] > 0.3


def probed_on_val(run: Run) -> dict[str, bool]:
    """By image what the run says of it."""
    probe = load_probe(run.folder / "predictions.npz", "logistic_probe_val")
    assert probe.right.mean() == run.summary["logistic_probe"]["val"]["top1"]["mean"]
    return dict(zip(probe.images, probe.right.tolist(), strict=True))


def answers(run: Run) -> dict[str, bool]:
    """The same from the stored features, at the C that the run says, by scikit-learn."""
    (part,) = (extract(part, allow_custom=True) for part in parse_options(options_of(run)).parts)
    sides = [(images := part.manifest.of(s), part.store.read([i.sha256 for i in images])) for s in ("train", "val")]
    (train, x), (val, tested) = sides
    mean = x.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(((x - mean) ** 2).sum(axis=1).mean())
    model = LogisticRegression(C=run.summary["logistic_probe"]["c"], tol=1e-8, max_iter=20_000)
    found = model.fit((x - mean) / scale, [i.label for i in train]).predict((tested - mean) / scale)
    return {image.name: bool(image.label == label) for image, label in zip(val, found, strict=True)}


# What was measured before


def test_other_heads_on_the_same_features_are_not_measured_again(train: Train, measured: list[int]) -> None:
    first = train("first")
    second = train("second", model={"dropout": 0.5}, training={"epochs": 3, "seeds": 2}, data={"batch_size": 7})
    assert measured == [48]
    assert says(second) == says(first)
    probes = [load_probe(run.folder / "predictions.npz") for run in (first, second)]
    assert np.array_equal(probes[0].right, probes[1].right)
    assert probes[0].images == probes[1].images


def test_a_new_label_is_measured_again(train: Train, measured: list[int], digits: Path) -> None:
    before = train("before")
    # the last of a class becomes the first of the next: the images stay in their order
    (digits / "train" / "digit 0" / "011.png").rename(digits / "train" / "digit 1" / "0.png")
    after = train("after")
    assert measured == [48, 48]
    assert says(after) == figures(expected(after)) != says(before)


def test_new_and_removed_images_are_measured_again(train: Train, measured: list[int], digits: Path) -> None:
    train("before")
    (digits / "val" / "digit 0" / "000.png").rename(digits / "train" / "digit 0" / "from val.png")
    assert says(train("more")) == figures(expected(train("more")))
    (digits / "train" / "digit 1" / "000.png").unlink()
    assert says(train("fewer"))["n"] == 48
    assert measured == [48, 49, 48]


def test_another_network_is_measured_by_itself(train: Train, measured: list[int]) -> None:
    runs = [train("one"), train("two", model={"backbone": "squeezenet1_1"}), train("both", model={"backbone": TWO})]
    assert measured == [48, 48, 48]
    assert len({json.dumps(says(run)) for run in runs}) == 3


def test_relatives_do_not_speak_for_each_other_and_another_grouping_is_measured_again(
    train: Train, measured: list[int], tmp_path: Path
) -> None:
    before = train("before")
    table = tmp_path / "groups.csv"
    found, images = stored(before)
    made = {}
    for number, per_group in enumerate((2, 4)):
        groups = [n // per_group for n in range(len(images))]
        rows = [f"{i.name},g{g}" for i, g in zip(images, groups, strict=True)]
        table.write_text("\n".join(["path,group", *rows]) + "\n")
        run = made[number] = train(f"grouped {number}", data={"groups": f"csv:{table}"})
        labels = np.array([i.label for i in images])
        assert says(run) == measure(found, labels, groups=np.array(groups))
    assert says(made[0]) != says(before) != says(made[1])
    table.write_text(table.read_text().replace(".png,g", ".png,renamed "))  # the same images together
    assert says(train("renamed", data={"groups": f"csv:{table}"})) == says(made[1])
    assert measured == [48] * 3


def test_a_new_name_in_the_same_place_is_not_measured_again(train: Train, measured: list[int], digits: Path) -> None:
    train("before")
    (digits / "train" / "digit 0" / "000.png").rename(digits / "train" / "digit 0" / "000 renamed.png")
    after = train("after")
    assert measured == [48]
    names = load_probe(after.folder / "predictions.npz").images  # pairs with runs that are on the names of today
    assert names == tuple(i.name for i in stored(after)[1])
    assert "train/digit 0/000 renamed.png" in names


def test_a_memory_from_before_a_measure_is_completed(train: Train, tmp_path: Path) -> None:
    first = train("first")
    (memo,) = (tmp_path / "cache" / "separability").iterdir()
    told = json.loads(memo.read_text())
    del told["figures"]["logistic_probe"], told["logistic"], told["val"]
    memo.write_text(json.dumps({**told, "figures": {**told["figures"], "logme": 5.0}}))
    assert says(train("second")) == {**says(first), "logme": 5.0}  # what was measured is not measured again


def test_other_validation_images_are_answered_anew(train: Train, digits: Path) -> None:
    train("before")
    (digits / "val" / "digit 0" / "000.png").unlink()
    after = train("after")
    assert probed_on_val(after) == answers(after)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"5", b"null", b"\xff\xfe\x00", b'{"figures": {}}', b'{"right": "0110"}'],
)
def test_a_damaged_memory_is_measured_again(train: Train, measured: list[int], tmp_path: Path, content: bytes) -> None:
    first = train("first")
    (memo,) = (tmp_path / "cache" / "separability").iterdir()
    whole = memo.read_bytes()
    memo.write_bytes(content)
    assert says(train("second")) == says(first)
    assert measured == [48, 48]
    assert memo.read_bytes() == whole  # mended


def test_a_measure_that_was_not_there_yet_is_added_to_the_memory_and_the_others_are_kept(
    train: Train, tmp_path: Path
) -> None:
    first = says(train("first"))
    (memo,) = (tmp_path / "cache" / "separability").iterdir()
    known = json.loads(memo.read_text())
    del known["figures"]["parc"], known["figures"]["intrinsic_dimension"]
    known["figures"]["logme"] = 123.0  # as no measuring would find it
    memo.write_text(json.dumps(known))
    assert says(train("second")) == {**first, "logme": 123.0}
    assert json.loads(memo.read_text())["figures"] == {**first, "logme": 123.0}


def test_a_full_disk_costs_the_memory_not_the_run(
    train: Train, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, text: str) -> None:
        raise DiskFullError(f"{path}: no room to write it.")

    monkeypatch.setattr("featcache.separability.remembered.write_text", full)
    with caplog.at_level(logging.WARNING, logger="featcache"):
        run = train()
        (said,) = caplog.messages
    assert "not remembered" in said and "no room" in said
    assert says(run) == figures(expected(run))


# More images than are looked at


def test_of_many_images_the_same_are_looked_at_for_every_network(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.separability.remembered.MOST", 20)
    runs = [train("one"), train("two", model={"backbone": "squeezenet1_1"})]
    _, images = stored(runs[0])
    kept = sorted(images, key=lambda i: i.sha256)[:20]
    chosen = tuple(i for i in images if i in kept)
    for run in runs:
        assert says(run)["n"] == 20
        assert says(run) == figures(expected(run, chosen))
        assert load_probe(run.folder / "predictions.npz").images == tuple(i.name for i in chosen)
    board = leaderboard(runs)
    assert set(board.behind["one"]) == set(board.behind["two"]) == {"top1", "top3", "linear_probe"}


def test_copies_do_not_make_them_more(train: Train, monkeypatch: pytest.MonkeyPatch, digits: Path) -> None:
    for image in sorted((digits / "train").glob("*/*.png")):
        image.with_stem(f"{image.stem} copy").write_bytes(image.read_bytes())
    monkeypatch.setattr("featcache.separability.remembered.MOST", 31)
    run = train()
    assert says(run)["n"] == len(load_probe(run.folder / "predictions.npz").images) == 31


def test_as_many_images_as_are_looked_at_are_all_looked_at(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.separability.remembered.MOST", 48)
    assert says(train())["n"] == 48
