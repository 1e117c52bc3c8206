"""A run's model on images of any kind: what it says equals what the run said, from the cache or through the network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, write_digits
from numpy.typing import NDArray
from scipy.special import softmax

from featcache.errors import RunError
from featcache.options import parse_options
from featcache.session import Session
from heads.experiment import train_model
from heads.predict import Prediction, Predictor, SortedCopies, asked_images, load_predictor
from heads.runs import Run, RunModel, calibration_of, load_run, load_run_model, load_run_record, predictions_of

OTHER = "networks:four_stages"
UNFREEZE = [{"epoch": 1, "unfreeze": "all", "lr_scale": 0.1}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("predicting")
    write_digits(root / "digits", {"train": 8, "val": 5, "test": 4})
    return root


@pytest.fixture(scope="module")
def trained(place: Path) -> Callable[..., Run]:
    """A run by its name, trained once."""
    runs: dict[str, Run] = {}

    def make(name: str, backbone: str = TINY, **sections: dict[str, Any]) -> Run:
        if name not in runs:
            config: dict[str, Any] = {
                "experiment_name": name,
                "model": {"backbone": backbone, "classifier_dims": ["auto", 16, 4], "pretrained": True},
                "data": {"path": str(place / "digits"), "batch_size": 16, "workers": 2},
                "training": {"epochs": 4, "learning_rate": 0.003},
                "cache": {"dir": str(place / "cache"), "batch_size": 8},
                "profile": {"iterations": 2, "warmup": 1},
            }
            for section, values in sections.items():
                config.setdefault(section, {}).update(values)
            train_model(parse_options(config), results_dir=place / "results", device="cpu", allow_custom=True)
            runs[name] = load_run_record(place / "results" / name)
        return runs[name]

    return make


class Program:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._file),)


def session(place: Path) -> Session:
    return Session.begin("cpu", allow_custom=True, results_dir=place / "results")


def predict(predictor: Predictor, *named: str | Path) -> list[Prediction]:
    return list(predictor.predict(list(asked_images(list(map(str, named))))))


def probabilities(found: list[Prediction]) -> NDArray[np.float64]:
    return np.stack([one.probabilities for one in found if one.probabilities is not None])


def stored(run: Run) -> NDArray[np.float64]:
    """What the run's own head said of the test images, by the run's temperature, in the order of their names."""
    seen, calibration = predictions_of(run.folder, "test"), calibration_of(run.folder, run.summary)
    assert seen is not None
    assert calibration is not None
    logits = seen.logits[0, np.argsort(seen.images)].astype(np.float64)
    every: NDArray[np.float64] = softmax(logits / calibration.temperature, axis=1)
    return every


KINDS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "joined": {"backbone": f"{TINY}+{OTHER}"},
    "normalised": {"head": {"normalise": "l2"}},
    "tuned": {"training": {"epochs": 2, "learning_rate": 0.003, "unfreeze_schedule": UNFREEZE}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_test_images_get_what_the_run_gave_them_from_the_cache_and_through_the_network(
    kind: str, place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    run = trained(kind, **KINDS[kind])
    cached = predict(load_predictor(run, session(place)), place / "digits" / "test")
    assert [Path(one.image.name).parent.name for one in cached] == [f"digit {c}" for c in range(4) for _ in range(4)]
    close = 1e-4 if kind == "tuned" else 1e-6  # whose test images are in no store: they are rounded as its rows are
    np.testing.assert_allclose(probabilities(cached), stored(run), atol=close)
    fresh = load_predictor(run, session(place), cache_dir=tmp_path, spaced=False)  # rows of a store have float16
    np.testing.assert_allclose(probabilities(predict(fresh, place / "digits" / "test")), stored(run), atol=5e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_both_halves_of_predicting_say_what_the_whole_says_whatever_is_beside(
    kind: str, place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    for cache in (None, tmp_path / "cache"):  # with rows of the cache, and through the network
        predictor = load_predictor(trained(kind, **KINDS[kind]), session(place), cache_dir=cache, spaced=cache is None)
        predictor.warm_up()
        asked = list(asked_images([str(place / "digits" / "test"), str(tmp_path / "torn.png")]))
        whole = list(predictor.predict(asked))
        prepared = [predictor.prepare(image) for image in asked]
        halves = predictor.predict_prepared(prepared)
        alone = [predictor.predict_prepared([one])[0] for one in prepared]
        for found in (halves, alone):
            np.testing.assert_array_equal(probabilities(found), probabilities(whole))
            assert [(one.reason, one.as_far, one.image) for one in found] == [
                (one.reason, one.as_far, one.image) for one in whole
            ]
        assert predictor.predict_prepared(prepared[-1:])[0].probabilities is None


def test_rows_that_go_away_after_the_start_are_computed(
    place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    shutil.copytree(place / "cache", tmp_path / "cache")
    predictor = load_predictor(trained("frozen"), session(place), cache_dir=tmp_path / "cache", spaced=False)
    predictor.warm_up()
    asked = list(asked_images([str(place / "digits" / "test")]))
    before = predictor.predict_prepared([predictor.prepare(image) for image in asked])
    shutil.rmtree(tmp_path / "cache")
    after = predictor.predict_prepared([predictor.prepare(image) for image in asked])
    np.testing.assert_allclose(probabilities(after), probabilities(before), atol=5e-4)


def test_what_is_in_the_cache_needs_no_network(
    place: Path, trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("frozen")
    monkeypatch.setattr(RunModel, "backbones", lambda *_, **__: pytest.fail("the network was built"))
    assert len(predict(load_predictor(run, session(place)), place / "digits" / "test")) == 16


def test_without_temperature_it_is_what_load_run_says(place: Path, trained: Callable[..., Run]) -> None:
    run = trained("frozen")
    files = sorted((place / "digits" / "val").glob("*/*"))
    found = predict(load_predictor(run, session(place), calibrated=False), *files)
    loaded = load_run(run.folder, device="cpu", allow_custom=True).predict(files)
    np.testing.assert_allclose(probabilities(found), loaded.numpy(), atol=1e-4)


def test_an_image_that_cannot_be_read_has_a_reason_and_others_are_as_without_it(
    place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    run = trained("frozen")
    good = sorted((place / "digits" / "test").glob("*/*"))[:3]
    (tmp_path / "torn.png").write_bytes(good[0].read_bytes()[:40])
    (tmp_path / "notes.txt").write_text("no image")
    shutil.copy(good[1], tmp_path / "again.png")
    predictor = load_predictor(run, session(place))
    found = predict(predictor, good[0], tmp_path / "torn.png", good[1], tmp_path / "notes.txt", tmp_path / "again.png")
    assert [bool(one.reason) for one in found] == [False, True, False, True, False]
    assert "not an image" in found[3].reason
    np.testing.assert_array_equal(probabilities(found)[1], probabilities(found)[2])
    np.testing.assert_allclose(probabilities(found)[0], probabilities(predict(predictor, good[0]))[0], atol=1e-7)


def test_a_file_that_goes_away_meanwhile_is_one_that_cannot_be_read(
    place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    shutil.copytree(place / "digits" / "test", tmp_path / "some")
    asked = list(asked_images([str(tmp_path / "some")]))
    (tmp_path / "some" / "digit 0" / "000.png").unlink()
    found = list(load_predictor(trained("frozen"), session(place)).predict(asked))
    assert [bool(one.reason) for one in found] == [True, *[False] * 15]


def test_a_file_that_goes_or_changes_before_it_is_copied_is_said_and_the_rest_is_copied(
    place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    shutil.copytree(place / "digits" / "test" / "digit 0", tmp_path / "some")
    found = predict(load_predictor(trained("frozen"), session(place), spaced=False), tmp_path / "some")
    files = sorted((tmp_path / "some").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[2].read_bytes())
    copies = SortedCopies(tmp_path / "sorted", ["zero"], [])
    assert [bool(copies.copy(one, "zero")) for one in found] == [True, True, False, False]
    assert sorted(p.name for p in (tmp_path / "sorted" / "zero").iterdir()) == [p.name for p in files[2:]]


def test_noise_is_unlike_the_digits_and_digits_are_not(
    place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for kind in ("frozen", "tuned"):
        run = trained(kind, **KINDS[kind])
        predictor = load_predictor(run, session(place))
        assert predictor.space is not None
        (odd,) = predict(predictor, tmp_path / "noise.png")
        assert odd.as_far == predictor.space.least_rate == 1 / 21
        usual = [one.as_far for one in predict(predictor, place / "digits" / "test") if one.as_far is not None]
        assert np.mean(usual) > 0.25


def test_training_images_that_are_not_at_hand_are_said_and_flag_nothing(
    place: Path, trained: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = load_predictor(trained("frozen"), session(place), cache_dir=tmp_path)
    assert predictor.space is None
    assert "not flagged" in caplog.text
    assert "--cache-dir" in caplog.text


def test_a_fine_tuned_network_keeps_rows_of_its_own(place: Path, trained: Callable[..., Run]) -> None:
    run = trained("tuned", **KINDS["tuned"])
    load_predictor(run, session(place))
    stores = {file.name for file in (place / "cache").glob("*.h5")}
    before = {name: (place / "cache" / name).read_bytes() for name in stores}
    predictor = load_predictor(run, session(place))
    assert {name: (place / "cache" / name).read_bytes() for name in stores} == before
    assert predictor.space is not None
    assert len(predictor.space.names) == 32


def test_a_fine_tuned_network_says_the_same_before_and_after_its_rows_are_kept(
    place: Path, trained: Callable[..., Run], tmp_path: Path
) -> None:
    run = trained("tuned", **KINDS["tuned"])
    for name in run.summary["stores"]:
        shutil.copy(place / "cache" / name, tmp_path)
    test = place / "digits" / "test"
    first, second = (predict(load_predictor(run, session(place), cache_dir=tmp_path), test) for _ in range(2))
    np.testing.assert_array_equal(probabilities(first), probabilities(second))


def test_a_stranger_s_model_that_is_a_program_is_not_run_and_nobody_is_told_to(
    trained: Callable[..., Run], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained("frozen").folder, folder)
    torch.save({"head": Program(tmp_path / "ran")}, folder / "best_model.pth")
    with pytest.raises(RunError, match="nothing of it was run") as said:
        load_run_model(folder)
    assert "weights_only" not in str(said.value)
    assert not (tmp_path / "ran").exists()


def test_a_run_says_its_temperature_and_one_of_before_gets_the_same(trained: Callable[..., Run]) -> None:
    run = trained("frozen")
    said = calibration_of(run.folder, run.summary)
    older = {key: value for key, value in run.summary.items() if key != "calibration"}
    assert said == calibration_of(run.folder, older)
    assert json.loads((run.folder / "summary.json").read_text())["calibration"]["images"] == 20
