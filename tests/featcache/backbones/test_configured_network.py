"""`local-dir:` and `hf-hub:`: what timm's config.json and the weights beside it say is what is built."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from featcache.backbones import describe_backbone, load_backbone
from featcache.backbones.name_catalogue import catalogue
from featcache.errors import InputError, UnknownBackboneError, WeightsError
from featcache.extraction import estimate_costs
from featcache.extraction.one_backbone import extract
from featcache.options import ModelOptions, Options, parse_options
from featcache.session import Session

Config = Callable[..., dict[str, Any]]


def saved(folder: Path, name: str = "test_resnet", safe: bool = True, seed: int = 3, **extra: Any) -> nn.Module:
    """A network of timm's, saved as timm saves it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(name, **extra).eval()
    save_for_hf(network, folder, safe_serialization=safe)
    return network


def changed(folder: Path, **top: Any) -> None:
    """Other values in the config, `pretrained_cfg__mean` for one inside."""
    file = folder / "config.json"
    value = json.loads(file.read_text())
    for key, new in top.items():
        inner, _, last = key.rpartition("__")
        (value[inner] if inner else value)[last] = new
    file.write_text(json.dumps(value))


def features_of(network: Any, images: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network.forward_head(network.forward_features(images), pre_logits=True)
    return found


def images_of(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "safe", "extra"),
    [
        ("test_resnet", True, {}),
        ("test_resnet", False, {"num_classes": 7}),
        ("test_vit3", True, {"global_pool": "avg", "num_classes": 0}),
    ],
)
def test_a_folder_gives_the_features_of_its_network(here: Path, name: str, safe: bool, extra: dict[str, Any]) -> None:
    network = saved(here / "nets" / "mine", name, safe, **extra)
    backbone = load_backbone("local-dir:nets/mine/")
    images = images_of(backbone.preprocessing.input_size)
    expected = features_of(network, images)
    assert float((expected[0] - expected[1]).abs().max()) > 1e-3
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images), expected, rtol=1e-5, atol=1e-5)
    assert backbone.info.origin.label == ("model.safetensors" if safe else "pytorch_model.bin")
    assert backbone.info.origin.location == str(here / "nets" / "mine" / backbone.info.origin.label)


def test_the_config_gives_the_transform(here: Path) -> None:
    saved(here / "m")
    changed(
        here / "m",
        pretrained_cfg__mean=[0.1, 0.2, 0.3],
        pretrained_cfg__std=[0.4, 0.5, 0.6],
        pretrained_cfg__input_size=[3, 96, 96],
        pretrained_cfg__crop_pct=0.75,
        pretrained_cfg__interpolation="bilinear",
    )
    found = load_backbone("local-dir:m").preprocessing
    assert (found.input_size, found.resize_size, found.interpolation) == (96, 128, "bilinear")
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_the_identity_follows_tensors_and_transform_and_no_path(here: Path) -> None:
    def identity(folder: str) -> Any:
        return load_backbone(f"local-dir:{folder}").info.identity

    saved(here / "a+b")
    first = identity("a+b")
    assert first.source == "timm" and first.stem.startswith("test_resnet") and "/" not in first.stem
    shutil.copytree(here / "a+b", here / "elsewhere" / "copy")
    assert identity("elsewhere/copy") == identity(str(here / "a+b")) == first
    changed(here / "a+b", pretrained_cfg__mean=[0.1, 0.2, 0.3])
    assert identity("a+b") != first
    saved(here / "other", seed=4)
    assert identity("other").weights != first.weights
    # Arguments that change what is computed and no tensor.
    changed(here / "other", model_args={"output_stride": 16})
    assert identity("other").backbone != first.backbone


def test_the_memo_sees_another_config(here: Path, config: Config) -> None:
    saved(here / "m")
    options = parse_options(config(model={"backbone": "local-dir:m", "input_size": 64, "pretrained": True}))
    first, built = describe_backbone(options)
    assert built is not None
    assert describe_backbone(options) == (first, None)
    changed(here / "m", pretrained_cfg__mean=[0.1, 0.2, 0.3])
    second, built = describe_backbone(options)
    assert built is not None and second.identity.preprocessing.mean == (0.1, 0.2, 0.3)


def test_a_run_from_a_folder_extracts_and_check_reads_it(here: Path, config: Config) -> None:
    network = saved(here / "m+n")
    model = {"backbone": "local-dir:m+n", "input_size": 64, "pretrained": True, "classifier_dims": ["auto", 16, "auto"]}
    options = parse_options(config(model=model, profile={"iterations": 1, "warmup": 0}))
    (estimate,) = estimate_costs(options, Session.begin("cpu"))
    assert estimate.weights == str(here / "m+n" / "model.safetensors") and estimate.features == 96
    extraction = extract(options, device="cpu")
    assert extraction.store.path.name.startswith("test_resnet") and extraction.store.path.parent == here / "cache"
    image = extraction.manifest.images[0]
    from featcache.data.transforms import EvalTransform

    batch = EvalTransform(extraction.info.identity.preprocessing)(image.place.path)[None]
    cached = torch.from_numpy(extraction.store.read([image.sha256])).float()
    torch.testing.assert_close(cached, features_of(network, batch), rtol=2**-10, atol=1e-3)


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


FAULTS: dict[str, tuple[Callable[[Path], Any], type[InputError], str]] = {
    "no folder": (shutil.rmtree, UnknownBackboneError, "is no folder"),
    "no config": (lambda m: (m / "config.json").unlink(), UnknownBackboneError, "holds no config.json"),
    "no JSON": (lambda m: (m / "config.json").write_text("{"), UnknownBackboneError, "is no JSON"),
    "a list": (lambda m: (m / "config.json").write_text("[]"), UnknownBackboneError, 'has no "architecture"'),
    "not timm's": (
        lambda m: (m / "config.json").write_text('{"architectures": ["Dinov2Model"]}'),
        UnknownBackboneError,
        "is for transformers' Dinov2Model",
    ),
    "no such network": (lambda m: changed(m, architecture="resnet99"), UnknownBackboneError, "architecture 'resnet99'"),
    "no record": (lambda m: changed(m, pretrained_cfg={"hue": 1}), UnknownBackboneError, "timm cannot use .*hue"),
    "no mean": (
        lambda m: changed(m, pretrained_cfg__mean="x"),
        UnknownBackboneError,
        "mean is 'x', expected three numbers",
    ),
    "no deviation": (
        lambda m: changed(m, pretrained_cfg__std=[0.5, 0.0, 0.5]),
        UnknownBackboneError,
        r"std is \[0\.5, 0\.0, 0\.5\], expected finite numbers, above 0",
    ),
    "a mean that is none": (
        lambda m: changed(m, pretrained_cfg__mean=[float("nan"), 0, 0]),
        UnknownBackboneError,
        r"mean is \[nan, 0, 0\], expected finite numbers",
    ),
    "no interpolation": (
        lambda m: changed(m, pretrained_cfg__interpolation="lanczosx"),
        UnknownBackboneError,
        "interpolation is 'lanczosx', expected one of nearest, bilinear",
    ),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), WeightsError, "holds a config.json and no weights"),
    "two weights": (
        lambda m: [(m / "model.safetensors").rename(m / "a.safetensors"), (m / "b.safetensors").touch()],
        WeightsError,
        r"holds a\.safetensors, b\.safetensors: which",
    ),
    "another's weights": (
        lambda m: changed(m, architecture="test_vit", model_args={}),
        WeightsError,
        "does not fit test_vit",
    ),
    "a pickle that runs code": (
        lambda m: [(m / "model.safetensors").unlink(), (m / "model.pth").write_bytes(pickle.dumps({"a": Bomb()}))],
        WeightsError,
        r"model\.pth holds no state dict",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_folder_is_said(here: Path, fault: str) -> None:
    spoil, kind, said = FAULTS[fault]
    saved(here / "m")
    spoil(here / "m")
    with pytest.raises(kind, match=rf"(?s)local-dir:m.*{said}") as caught:
        load_backbone("local-dir:m")
    assert "\n" not in str(caught.value)
    assert not (here / "exploded").exists()


def test_without_pretraining_the_folder_gives_the_architecture_alone(here: Path) -> None:
    saved(here / "m")
    (here / "m" / "model.safetensors").unlink()
    info = load_backbone(ModelOptions(backbone="local-dir:m", pretrained=False)).info
    assert info.origin.kind == "random" and info.features == 96


def test_the_catalogue_lists_a_folder(here: Path) -> None:
    saved(here / "m")
    (row,) = catalogue("local-dir:m")
    assert (row.source, row.features, row.input_size) == ("timm", 96, 160)
    assert row.place.endswith("m/model.safetensors")


# The hub


def in_cache(source: Path, repository: str, revision: str = "main") -> None:
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / revision).write_text(commit)
    shutil.copytree(source, folder / "snapshots" / commit)


@pytest.mark.parametrize("revision", ["main", "v1"])
def test_a_repository_in_the_hubs_cache(here: Path, revision: str) -> None:
    network = saved(here / "m")
    in_cache(here / "m", "org/model", revision)
    name = "hf_hub:org/model" if revision == "main" else f"hf-hub:org/model@{revision}"
    backbone = load_backbone(ModelOptions(backbone=name, input_size=64))
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images_of(64)), features_of(network, images_of(64)), rtol=1e-5, atol=1e-5)
    assert backbone.info.origin.label == revision
    folder = load_backbone(ModelOptions(backbone="local-dir:m", input_size=64))
    assert backbone.info.identity == folder.info.identity


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        (
            "hf-hub:org/model",
            WeightsError,
            r"config\.json.* not on this machine .*`hf download org/model`.*local-dir:PATH",
        ),
        ("hf-hub:org/model@v1", WeightsError, r"`hf download org/model --revision v1`"),
        ("hf-hub:model", UnknownBackboneError, "'model' is no repository of the hub"),
        ("hf-hub:facebook/dinov2-base", UnknownBackboneError, r"Did you mean 'vit_base_patch14_dinov2\.lvd142m'\?"),
    ],
)
def test_what_the_hub_does_not_give_is_said(name: str, kind: type[InputError], said: str) -> None:
    with pytest.raises(kind, match=said):
        load_backbone(name)


def test_timms_own_repository_is_the_plain_name(here: Path, config: Config) -> None:
    network = saved(here / "m")
    in_cache(here / "m", "timm/test_resnet.r160_in1k")
    plain: Options = parse_options(config(model={"backbone": "test_resnet.r160_in1k", "pretrained": True}))
    for typed in ("timm/test_resnet.r160_in1k", "hf-hub:timm/test_resnet.r160_in1k"):
        options = parse_options(config(model={"backbone": typed, "pretrained": True}))
        assert options == plain
        backbone = load_backbone(options)
        assert backbone.info.identity.backbone == "test_resnet.r160_in1k"
        with torch.inference_mode():
            torch.testing.assert_close(
                backbone(images_of(32)), features_of(network, images_of(32)), rtol=1e-5, atol=1e-5
            )


def test_networks_of_others_in_the_hubs_cache_are_at_hand(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.backbones.weight_packages.WEIGHT_PACKAGES", ())
    saved(here / "m")
    (here / "words").mkdir()
    (here / "words" / "config.json").write_text('{"model_type": "bert"}')
    for repository, folder in (("org/model", "m"), ("org/words", "words"), ("timm/test_resnet.r160_in1k", "m")):
        in_cache(here / folder, repository)
    rows = {row.name: row for row in catalogue(at_hand=True)}
    assert set(rows) == {"hf-hub:org/model", "test_resnet"}  # timm's own by its plain name
    assert (rows["hf-hub:org/model"].features, rows["hf-hub:org/model"].place) == (96, "the hub's cache")
