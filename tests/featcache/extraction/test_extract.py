"""Extraction: each distinct image once, nothing stale, nothing lost."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import TINY
from PIL import Image
from typer.testing import CliRunner

from featcache.app.main import app
from featcache.data.transforms import EvalTransform
from featcache.errors import DataError, InputError, NonFiniteError
from featcache.extraction.inference import Inference
from featcache.extraction.one_backbone import Extraction, extract
from featcache.options.loading import parse_options

Config = Callable[..., dict[str, Any]]


@pytest.fixture
def run(config: Config) -> Callable[..., Extraction]:
    """Extract with the tiny backbone."""

    def go(**sections: dict[str, Any]) -> Extraction:
        tiny = {"backbone": TINY, "pretrained": True, **sections.pop("model", {})}
        return extract(parse_options(config(model=tiny, **sections)), allow_custom=True)

    return go


def test_features_are_those_of_the_network_on_each_image_alone(run: Callable[..., Extraction]) -> None:
    from featcache.backbones import load_backbone
    from featcache.options.model_options import ModelOptions

    extraction = run()
    backbone = load_backbone(ModelOptions(backbone=TINY, input_size=32), allow_custom=True)
    transform = EvalTransform(backbone.preprocessing)
    for image in extraction.manifest.images[::7]:
        with torch.inference_mode():
            expected = backbone(transform(image.place.path)[None])[0].numpy()
        stored = extraction.store.read([image.sha256])[0]
        assert np.allclose(stored, expected, rtol=2e-3, atol=1e-4)


def test_copies_of_an_image_are_extracted_once(run: Callable[..., Extraction], digits: Path) -> None:
    original = digits / "train" / "digit 0" / "000.png"
    shutil.copy(original, digits / "train" / "digit 0" / "copy.png")
    shutil.copy(original, digits / "test" / "digit 0" / "copy in test.png")
    extraction = run()
    assert extraction.new == 84
    assert len(extraction.manifest.images) == 86


def test_what_costs_a_forward_pass_and_what_does_not(run: Callable[..., Extraction], digits: Path) -> None:
    """Law 4: nothing stale, and no label, split or name is part of the identity."""
    assert run().new == 84
    assert run().new == 0
    (digits / "val" / "digit 1" / "000.png").rename(digits / "val" / "digit 2" / "relabelled.png")
    (digits / "train" / "digit 1" / "003.png").rename(digits / "test" / "digit 1" / "moved between splits.png")
    (digits / "train" / "digit 2" / "000.png").rename(digits / "train" / "digit 2" / "renamed.png")
    assert run().new == 0
    Image.new("RGB", (50, 40), "red").save(digits / "train" / "digit 3" / "000.png")
    Image.new("RGB", (50, 40), "blue").save(digits / "train" / "digit 3" / "added.png")
    assert run().new == 2
    assert run(model={"input_size": 40}).new == 85
    assert run(cache={"dtype": "float32"}).new == 85
    assert run().new == 0


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of each call of the network in stage one."""
    seen: list[int] = []
    call = Inference.__call__

    def counting(self: Inference, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return call(self, images)

    monkeypatch.setattr(Inference, "__call__", counting)
    return seen


def weights_file(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    return path


def test_the_identity_table(config: Config, digits: Path, tmp_path: Path, passes: list[int]) -> None:
    """Law 4 by its forward passes: each change, and what it costs."""

    def cost(**sections: dict[str, Any]) -> int:
        passes.clear()
        model = {"weights": str(tmp_path / "weights.pth"), "pretrained": True, **sections.pop("model", {})}
        extraction = extract(parse_options(config(model=model, **sections)))
        assert sum(passes) == extraction.new
        return extraction.new

    weights = weights_file(tmp_path / "weights.pth", 0)
    every, one = 84, 1
    assert cost() == every
    assert cost() == 0
    # What rows depend on.
    weights_file(weights, 1)
    assert cost() == every
    assert cost(model={"input_size": 40}) == every
    assert cost(training={"precision": "bfloat16"}) == every
    Image.new("RGB", (50, 40), "red").save(digits / "train" / "digit 3" / "000.png")
    assert cost() == one
    # What they do not.
    weights.rename(tmp_path / "renamed.pth")
    assert cost(model={"weights": str(tmp_path / "renamed.pth")}) == 0
    weights_file(weights, 0)
    assert cost() == one  # the first weights again, and the image that was changed meanwhile
    (digits / "val" / "digit 1" / "000.png").rename(digits / "val" / "digit 2" / "relabelled.png")
    assert cost() == 0
    (digits / "train" / "digit 1" / "003.png").rename(digits / "test" / "digit 1" / "moved.png")
    assert cost() == 0
    (digits / "train" / "digit 2" / "000.png").rename(digits / "train" / "digit 2" / "renamed.png")
    assert cost() == 0
    for file in (digits / "train" / "digit 2").iterdir():
        file.touch()
    assert cost() == 0
    digits.rename(digits.with_name("another name"))
    assert cost(data={"path": str(digits.with_name("another name"))}) == 0
    shutil.copytree(digits.with_name("another name") / "train", tmp_path / "second data set")
    assert cost(data={"path": str(tmp_path / "second data set")}) == 0
    assert cost(data={"path": str(tmp_path / "second data set"), "batch_size": 4}) == 0
    assert cost(data={"path": str(tmp_path / "second data set")}, training={"epochs": 9, "seed": 5}) == 0


def test_a_store_that_nearly_matches_is_explained(
    run: Callable[..., Extraction], caplog: pytest.LogCaptureFixture
) -> None:
    run()
    with caplog.at_level(logging.INFO):
        run(model={"input_size": 40})
    assert "preprocessing.input_size is 32 there, 40 here" in caplog.text


def test_views_cost_their_own_rows_only(run: Callable[..., Extraction], passes: list[int]) -> None:
    assert run().new == 84
    passes.clear()
    flips = {"augmentations": ["horizontal_flip"], "views": 3}
    assert run(data=flips).new == 48  # of train
    assert sum(passes) == 96
    passes.clear()
    assert run(data=flips).new == 0
    assert run(data={**flips, "views": 4}).new == 48
    assert sum(passes) == 144


def test_a_second_data_set_shares_rows(run: Callable[..., Extraction], digits: Path, tmp_path: Path) -> None:
    run()
    other = shutil.copytree(digits, tmp_path / "another name")
    Image.new("RGB", (50, 40), "red").save(other / "train" / "digit 3" / "new.png")
    extraction = run(data={"path": str(other)})
    assert (extraction.reused, extraction.new) == (84, 1)


def test_unreadable_images_are_remembered_and_left_out(
    run: Callable[..., Extraction], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, content in enumerate((b"", b"text", (digits / "train" / "digit 0" / "000.png").read_bytes()[:300])):
        (digits / "train" / "digit 0" / f"bad{i}.jpg").write_bytes(content)
    lenient = {"max_bad_fraction": 0.1}
    extraction = run(data=lenient)
    assert sorted(b.name for b in extraction.bad) == [f"train/digit 0/bad{i}.jpg" for i in range(3)]
    assert all(b.reason for b in extraction.bad)
    assert len(extraction.manifest.images) == 84
    monkeypatch.setattr("featcache.data.decoded_image.read_picture", lambda *_: pytest.fail("decoded again"))
    assert len(run(data=lenient).bad) == 3


def test_a_file_system_that_failed_once_is_asked_again(
    run: Callable[..., Extraction], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def fails(path: Path) -> bytes:
        if path.name == "003.png" and path.parent.parent.name == "train":
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fails)
    assert len(run(data={"max_bad_fraction": 0.1}).bad) == 4
    monkeypatch.undo()
    healed = run(data={"max_bad_fraction": 0.1})
    assert (len(healed.bad), healed.new) == (0, 4)


def test_a_few_new_images_do_not_change_the_measured_rate(run: Callable[..., Extraction], digits: Path) -> None:
    first = run().store.extraction()
    Image.new("RGB", (50, 40), "blue").save(digits / "train" / "digit 3" / "added.png")
    extraction = run()
    assert extraction.new == 1
    assert extraction.store.extraction() == first


def test_a_class_without_a_readable_image_is_said_and_in_train_an_error(
    run: Callable[..., Extraction], digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("val", "train"):
        for file in (digits / split / "digit 2").iterdir():
            file.write_bytes(b"broken " + file.name.encode())
        if split == "val":
            run(data={"max_bad_fraction": 0.5})
            assert "no image of the class 'digit 2' in val can be read: figures of val leave" in caplog.text
    with pytest.raises(DataError, match=r"no image of the class 'digit 2' in train can be read"):
        run(data={"max_bad_fraction": 0.5})


def test_features_that_are_not_finite_name_the_images(
    run: Callable[..., Extraction], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import conftest

    plain = conftest.tiny_backbone

    def explodes_on_red() -> Any:
        network, preprocessing = plain()
        forward = network.forward
        network.forward = lambda x: forward(x) * torch.where(x[:, 0].mean((1, 2)) > 2.2, torch.inf, 1.0)[:, None]
        return network, preprocessing

    monkeypatch.setattr(conftest, "tiny_backbone", explodes_on_red)
    Image.new("RGB", (50, 40), "red").save(digits / "train" / "digit 3" / "red.png")
    with pytest.raises(NonFiniteError, match=r"not finite .* for train/digit 3/red\.png\."):
        run()


def test_a_batch_that_does_not_fit_is_halved(
    run: Callable[..., Extraction], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import conftest

    plain = conftest.tiny_backbone

    def small_memory() -> Any:
        network, preprocessing = plain()
        forward = network.forward

        def checked(images: torch.Tensor) -> torch.Tensor:
            if len(images) > 3:
                raise torch.OutOfMemoryError("no room")
            return forward(images)

        network.forward = checked
        return network, preprocessing

    monkeypatch.setattr(conftest, "tiny_backbone", small_memory)
    with caplog.at_level(logging.WARNING):
        extraction = run()
    assert extraction.new == 84
    assert "going on with batches of 2" in caplog.text
    assert extraction.store.extraction()["batch_size"] == 2
    assert extraction.profile.throughput_batch_size == 2


def test_one_backbone_that_does_not_fit_leaves_the_others_done(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import conftest

    def too_large() -> Any:
        network, preprocessing = conftest.tiny_backbone()

        def forward(images: torch.Tensor) -> torch.Tensor:
            if len(images) != 2:  # what finds the number of features
                raise torch.OutOfMemoryError("no room")
            return torch.zeros(2, 64)

        network.forward = forward
        return network, preprocessing

    monkeypatch.setattr(conftest, "too_large", too_large, raising=False)
    files = []
    for name in ("tiny_backbone", "too_large", "missing", "slow_backbone"):
        model = {"backbone": f"conftest:{name}", "pretrained": True}
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(config(name, model=model)))
    done = CliRunner().invoke(app, ["extract", *map(str, files), "--allow-custom"])
    assert done.exit_code == 1
    assert done.output.count("84 new, 0 bad;") == 2
    assert "2 of 4 configs failed; the others are done" in done.output
    assert "too_large: conftest:too_large: one image does not fit the memory of cpu" in done.output


def test_the_profile_is_measured_once_for_each_head_and_device(
    run: Callable[..., Extraction], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    monkeypatch.setattr(
        "featcache.extraction.measured_profile.profile_model", lambda *a, **k: pytest.fail("measured again")
    )
    assert run().profile == first.profile
    with pytest.raises(pytest.fail.Exception):
        run(profile={"iterations": 4})


def test_other_classes_are_free_on_a_filled_cache_and_counted_as_they_are(
    run: Callable[..., Extraction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = {"classes": {"even": ["digit 0", "digit 2"], "odd": ["digit 1", "digit 3"]}}
    model = {"backbone": TINY, "pretrained": True, "classifier_dims": ["auto", 16, "auto"]}
    measured = run(model=model, data=merged, cache={"dir": str(tmp_path / "another")}).profile
    first = run(model=model)
    monkeypatch.setattr(
        "featcache.extraction.measured_profile.profile_model", lambda *a, **k: pytest.fail("measured again")
    )
    found = run(model=model, data=merged)
    counts = ("macs", "flops", "macs_by_operator", "params_head", "params_backbone", "unmapped_operators")
    assert found.new == 0 and found.dims[-1] == 2
    assert all(getattr(found.profile, name) == getattr(measured, name) for name in counts)
    assert found.profile.macs != first.profile.macs and found.profile.latency_ms == first.profile.latency_ms


def test_what_was_measured_is_told_apart(run: Callable[..., Extraction]) -> None:
    profile = run(profile={"batch_sizes": [1, 4], "precisions": ["float32", "bfloat16"], "iterations": 4}).profile
    assert [(m.precision, m.latency_ms.batch_size) for m in profile.measurements] == [
        ("float32", 1),
        ("float32", 4),
        ("bfloat16", 1),
        ("bfloat16", 4),
    ]
    assert profile.measurements[0].latency_ms == profile.latency_ms
    assert profile.preprocess_ms is not None and profile.preprocess_ms.iterations == 16
    shares = profile.backbone_ms.mean + profile.head_ms.mean
    assert shares == pytest.approx(profile.latency_ms.mean)
    assert profile.backbone_ms.mean > 0 and profile.head_ms.mean > 0
    assert (
        run(profile={"batch_sizes": [1, 4], "precisions": ["float32", "bfloat16"], "iterations": 4}).profile == profile
    )


def test_a_device_that_is_not_there(config: Config) -> None:
    with pytest.raises(InputError, match="--device cuda:9"):
        extract(parse_options(config()), device="cuda:9")
