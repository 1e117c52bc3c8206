"""Where weights come from: local files of every shape, the hubs' caches, seeds; and what is said without them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from conftest import TINY
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torchvision import models

from featcache.backbones import load_backbone
from featcache.errors import OptionsError, WeightsError
from featcache.options.model_options import ModelOptions

SQUEEZENET_FILE = "squeezenet1_1-b8a52dc0.pth"  # of the hub
RESNET_REPOSITORY = "timm/test_resnet.r160_in1k"

State = dict[str, Tensor]


def squeezenet(seed: int = 3, **extra: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.squeezenet1_1(**extra).eval()


def timm_network(name: str, seed: int = 3, **extra: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(name, **extra).eval()


def images_of(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def named(backbone: str, weights: Path | str | None = None, size: int = 32, **extra: Any) -> ModelOptions:
    return ModelOptions(backbone=backbone, input_size=size, weights=None if weights is None else str(weights), **extra)


def assert_features(options: ModelOptions, expected: Tensor, size: int = 32) -> None:
    with torch.inference_mode():
        found = load_backbone(options)(images_of(size))
    scale = float(expected.abs().max())
    assert float((expected[0] - expected[1]).abs().max()) > 1e-3 * scale
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def squeezenet_features(network: nn.Module, size: int = 32) -> Tensor:
    with torch.inference_mode():
        return network.get_submodule("features")(images_of(size)).mean(dim=(2, 3))


def save(state: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def in_torch_hub(state: State, file: str) -> Path:
    return save(state, Path(torch.hub.get_dir()) / "checkpoints" / file)


def in_huggingface_cache(state: State, repository: str) -> Path:
    folder = Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    revision = "0123456789abcdef0123456789abcdef01234567"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    return save(state, folder / "snapshots" / revision / "model.safetensors")


# Local files

CLASSIFIER = "classifier."
SHAPES: dict[str, Callable[[State], Any]] = {
    "whole": lambda s: s,
    "without classifier": lambda s: {k: v for k, v in s.items() if not k.startswith(CLASSIFIER)},
    "other classifier layers": lambda s: {**s, "classifier.4.bias": torch.zeros(7)},
    "under state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "under model": lambda s: {"model": s, "optimizer": {"lr": 0.1}},
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "DataParallel under state_dict": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pth_file_gives_the_features_of_its_network(tmp_path: Path, shape: str) -> None:
    network = squeezenet()
    path = save(SHAPES[shape](network.state_dict()), tmp_path / "mine.pth")
    assert_features(named("squeezenet1_1", path), squeezenet_features(network))


@pytest.mark.parametrize("shape", ["whole", "without classifier", "DataParallel"])
def test_a_safetensors_file_gives_the_features_of_its_network(tmp_path: Path, shape: str) -> None:
    network = squeezenet()
    path = save(SHAPES[shape](network.state_dict()), tmp_path / "mine.safetensors")
    assert_features(named("squeezenet1_1", path), squeezenet_features(network))


def test_a_file_trained_on_another_number_of_classes_fits(tmp_path: Path) -> None:
    network = squeezenet(num_classes=7)
    path = save(network.state_dict(), tmp_path / "seven.pth")
    assert_features(named("squeezenet1_1", path), squeezenet_features(network))


@pytest.mark.parametrize("classes", [0, 7, 1000])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_timm_files_fit_with_any_classifier(tmp_path: Path, classes: int, ending: str) -> None:
    network = timm_network("test_convnext", num_classes=classes)
    path = save(network.state_dict(), tmp_path / f"mine{ending}")
    with torch.inference_mode():
        expected = network.forward_features(images_of(64)).mean(dim=(2, 3))
    assert_features(named("test_convnext", path, 64), expected, 64)


def test_old_densenet_names_load(tmp_path: Path) -> None:
    network = models.densenet121().eval()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k): v for k, v in network.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    with torch.inference_mode():
        expected = network.features(images_of(32)).relu().mean(dim=(2, 3))
    assert_features(named("densenet121", save(old, tmp_path / "densenet.pth")), expected)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["mnasnet0_5", "shufflenet_v2_x0_5"])
def test_a_file_of_any_architecture_loads(tmp_path: Path, name: str, ending: str) -> None:
    # MNASNet's own loading asks for a version, which torch keeps beside the tensors and safetensors cannot hold.
    network = models.get_model(name).eval()
    path = save(network.state_dict(), tmp_path / f"mine{ending}")
    loaded = load_backbone(named(name, path)).network.state_dict()
    assert loaded and all(torch.equal(v, network.state_dict()[k]) for k, v in loaded.items())


def test_the_origin_names_the_file(tmp_path: Path) -> None:
    path = save(squeezenet().state_dict(), tmp_path / "mine.pth")
    origin = load_backbone(named("squeezenet1_1", path)).info.origin
    assert (origin.kind, origin.label, origin.location, origin.fell_back) == ("file", "mine.pth", str(path), False)


def test_a_mismatch_names_the_first_tensors_that_differ(tmp_path: Path) -> None:
    state = squeezenet().state_dict()
    del state["features.0.weight"]
    state["features.0.bias"] = torch.zeros(5)
    state["stem.conv.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        load_backbone(named("squeezenet1_1", save(state, tmp_path / "odd.pth")))
    message = str(caught.value)
    assert "odd.pth" in message
    assert "features.0.weight is missing" in message
    assert "features.0.bias has the shape [5], expected [64]" in message
    assert "stem.conv.weight is not in the network" in message


def test_another_architectures_file_is_refused_with_a_count(tmp_path: Path) -> None:
    path = save(squeezenet().state_dict(), tmp_path / "squeezenet.pth")
    with pytest.raises(WeightsError, match=r"does not fit the network: .*\(and \d+ more\)"):
        load_backbone(named("shufflenet_v2_x0_5", path))


def test_a_file_that_does_not_fit_is_no_reason_to_fall_back(tmp_path: Path) -> None:
    path = save(squeezenet().state_dict(), tmp_path / "squeezenet.pth")
    with pytest.raises(WeightsError, match="does not fit"):
        load_backbone(named("shufflenet_v2_x0_5", path, pretrained="if-available"))


@pytest.mark.parametrize("content", [b"", b"not weights at all"], ids=["empty", "garbage"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"broken{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.weights: .*broken\.\w+ cannot be read"):
        load_backbone(named("squeezenet1_1", path))


@pytest.mark.parametrize("value", [[1, 2], {}, {"epoch": 3}], ids=["list", "nothing", "no tensors"])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_backbone(named("squeezenet1_1", save(value, tmp_path / "odd.pth")))


@pytest.mark.parametrize("pretrained", [True, "if-available"])
def test_a_missing_file_is_named(tmp_path: Path, pretrained: Any) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pth does not exist.*squeezenet1_1"):
        load_backbone(named("squeezenet1_1", tmp_path / "gone.pth", pretrained=pretrained))


# Published weights


@pytest.mark.parametrize("pretrained", [True, "if-available"])
@pytest.mark.parametrize(
    ("backbone", "known"), [("squeezenet1_1", "IMAGENET1K_V1"), ("test_resnet", "r160_in1k"), ("resnet50", "V2")]
)
def test_an_unknown_weights_name_lists_the_known(backbone: str, known: str, pretrained: Any) -> None:
    with pytest.raises(OptionsError, match=rf"'IMAGENET1K_V9'.*{backbone} \(.*{known}"):
        load_backbone(named(backbone, "IMAGENET1K_V9", pretrained=pretrained))


def test_a_weights_name_for_a_network_of_ones_own_is_not_ignored() -> None:
    with pytest.raises(OptionsError, match="IMAGENET1K_V1"):  # nothing is published for it: a wrong name, said
        load_backbone(ModelOptions(backbone=TINY, weights="IMAGENET1K_V1"), allow_custom=True)


def test_missing_torchvision_weights_are_one_error_with_file_and_place() -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone(named("squeezenet1_1"))
    message = str(caught.value)
    assert "squeezenet1_1" in message and "IMAGENET1K_V1" in message
    assert str(Path(torch.hub.get_dir()) / "checkpoints" / SQUEEZENET_FILE) in message
    assert f"https://download.pytorch.org/models/{SQUEEZENET_FILE}" in message
    assert caught.value.__cause__ is None  # the user reads one message, not a chain of them


def test_missing_timm_weights_are_one_error_with_repository_and_file() -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone(named("test_resnet", size=64))
    message = str(caught.value)
    assert "test_resnet" in message and RESNET_REPOSITORY in message and "model.safetensors" in message


def test_torchs_hub_cache_is_used() -> None:
    network = squeezenet()
    path = in_torch_hub(network.state_dict(), SQUEEZENET_FILE)
    assert_features(named("squeezenet1_1"), squeezenet_features(network))
    assert_features(named("squeezenet1_1", "IMAGENET1K_V1"), squeezenet_features(network))
    origin = load_backbone(named("squeezenet1_1", pretrained="if-available")).info.origin
    assert (origin.kind, origin.label, origin.location) == ("hub", "IMAGENET1K_V1", str(path))
    assert not origin.fell_back


def test_the_named_weights_are_the_ones_that_are_read() -> None:
    # shufflenet and its like have one set; mobilenet_v3_large has two, in two files.
    first, second = (models.mobilenet_v3_large(num_classes=1000).eval() for _ in range(2))
    for network, weights in ((first, "IMAGENET1K_V1"), (second, "IMAGENET1K_V2")):
        url = models.get_model_weights("mobilenet_v3_large")[weights].url
        in_torch_hub(network.state_dict(), url.rpartition("/")[2])
    for network, weights in ((first, "IMAGENET1K_V1"), (second, "IMAGENET1K_V2")):
        with torch.inference_mode():
            expected = network.features(images_of(32)).mean(dim=(2, 3))
        assert_features(named("mobilenet_v3_large", weights), expected)


def test_networks_with_side_branches_load_from_the_hub_and_rescale_their_input() -> None:
    network = models.googlenet(init_weights=False).eval()
    url = models.GoogLeNet_Weights.DEFAULT.url
    in_torch_hub(network.state_dict(), url.rpartition("/")[2])
    seen: list[Tensor] = []
    network.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.transform_input = True  # as torchvision's own loader sets it with pretrained weights
    with torch.inference_mode():
        network(images_of(64))
    assert_features(named("googlenet", size=64), seen[0], 64)


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [("test_resnet", None), ("test_resnet", "r160_in1k"), ("test_resnet.r160_in1k", None)],
)
def test_huggingfaces_cache_is_used(backbone: str, weights: str | None) -> None:
    network = timm_network("test_resnet")
    path = in_huggingface_cache(network.state_dict(), RESNET_REPOSITORY)
    with torch.inference_mode():
        expected = network.forward_features(images_of(64)).mean(dim=(2, 3))
    assert_features(named(backbone, weights, 64), expected, 64)
    origin = load_backbone(named(backbone, weights, 64)).info.origin
    assert (origin.kind, origin.label, origin.location) == ("hub", "r160_in1k", str(path))


def test_published_position_embeddings_are_resampled_to_another_size() -> None:
    network = timm_network("test_vit")  # 160 pixels
    in_huggingface_cache(network.state_dict(), "timm/test_vit.r160_in1k")
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(images_of(160)), pre_logits=True)
    assert_features(named("test_vit", size=160), expected, 160)
    smaller = timm_network("test_vit", seed=4, img_size=64)
    smaller.load_state_dict(checkpoint_filter_fn(network.state_dict(), smaller))  # timm's own resampling
    with torch.inference_mode():
        expected = smaller.forward_head(smaller.forward_features(images_of(64)), pre_logits=True)
    assert_features(named("test_vit", size=64), expected, 64)


@pytest.mark.parametrize(("backbone", "size"), [("squeezenet1_1", 32), ("test_resnet", 64)])
def test_if_available_falls_back_to_the_seed_and_says_so(backbone: str, size: int) -> None:
    fallen = load_backbone(named(backbone, size=size, pretrained="if-available")).info
    assert fallen.origin.kind == "random" and fallen.origin.fell_back
    chosen = load_backbone(named(backbone, size=size, pretrained=False)).info
    assert not chosen.origin.fell_back
    assert fallen.identity == chosen.identity  # the same rows serve both


def test_a_damaged_hub_file_is_named_with_the_remedy() -> None:
    path = in_torch_hub({}, SQUEEZENET_FILE)
    path.write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=rf"{SQUEEZENET_FILE} cannot be loaded .*Remove the file"):
        load_backbone(named("squeezenet1_1"))


# The digest


def weights_digest(path: Path) -> str:
    return load_backbone(named("squeezenet1_1", path)).info.identity.weights


def test_the_digest_is_of_the_backbones_tensors_alone(tmp_path: Path) -> None:
    state = squeezenet().state_dict()
    bare = {k: v for k, v in state.items() if not k.startswith(CLASSIFIER)}
    same = {
        weights_digest(save(state, tmp_path / "whole.pth")),
        weights_digest(save(bare, tmp_path / "bare.pth")),
        weights_digest(save(state, tmp_path / "whole.safetensors")),
        weights_digest(save({"model": state}, tmp_path / "wrapped.pth")),
        weights_digest(save(squeezenet(num_classes=7).state_dict() | bare, tmp_path / "seven.pth")),
    }
    in_torch_hub(state, SQUEEZENET_FILE)
    same.add(load_backbone(named("squeezenet1_1")).info.identity.weights)
    assert len(same) == 1

    nudged = {**state, "features.0.bias": state["features.0.bias"] + 1e-6}
    assert weights_digest(save(nudged, tmp_path / "nudged.pth")) not in same


def test_the_digest_knows_batch_statistics_and_not_their_count(tmp_path: Path) -> None:
    state = models.shufflenet_v2_x0_5().state_dict()

    def digest_of(changed: State, name: str) -> str:
        return load_backbone(named("shufflenet_v2_x0_5", save(changed, tmp_path / name))).info.identity.weights

    plain = digest_of(state, "plain.pth")
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}  # files from before PyTorch 0.4.1
    assert digest_of(old, "old.pth") == plain
    moved = {**state, "conv1.1.running_mean": state["conv1.1.running_mean"] + 1}
    assert digest_of(moved, "moved.pth") != plain


@pytest.mark.parametrize(("backbone", "size"), [("squeezenet1_1", 32), ("shufflenet_v2_x0_5", 32), ("test_vit", 64)])
def test_a_seed_gives_the_same_weights_every_time_and_another_seed_others(backbone: str, size: int) -> None:
    def digest_of(seed: int) -> str:
        return load_backbone(named(backbone, size=size, pretrained=False, weights_seed=seed)).info.identity.weights

    first = digest_of(0)
    torch.rand(7)  # whatever the caller drew in between
    assert digest_of(0) == first
    assert digest_of(1) != first


@pytest.mark.parametrize("from_file", [False, True])
def test_the_callers_random_numbers_are_left_alone(tmp_path: Path, from_file: bool) -> None:
    path = save(squeezenet().state_dict(), tmp_path / "mine.pth")
    options = named("squeezenet1_1", path) if from_file else named("squeezenet1_1", pretrained=False)
    before = torch.get_rng_state()
    load_backbone(options)
    assert torch.equal(torch.get_rng_state(), before)
