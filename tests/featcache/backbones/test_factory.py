"""Backbones by name: what can be asked for, what is said when it cannot be had, and what is remembered."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from featcache.backbones import Backbone, describe_backbone, load_backbone, load_model
from featcache.backbones.name_catalogue import catalogue
from featcache.errors import FeatcacheError, InputError, InputSizeError, OptionsError, UnknownBackboneError, WorkError
from featcache.options.loading import parse_options
from featcache.options.model_options import ModelOptions
from featcache.options.run_options import Options
from featcache.records import Preprocessing

Config = Callable[..., dict[str, Any]]
HERE = Path(__file__).stem  # custom functions are named `test_factory:function`


def random_weights(backbone: str, **extra: Any) -> ModelOptions:
    return ModelOptions(backbone=backbone, pretrained=False, **extra)


def images_of(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# Names


@pytest.mark.parametrize(
    ("wrong", "right"), [("resnet81", "resnet18"), ("efficientnet-b0", "efficientnet_b0"), ("ResNet50", "resnet50")]
)
def test_an_unknown_name_gives_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(
        UnknownBackboneError, match=rf"'{wrong}' is no classifier .*(Nearest: |Did you mean ').*\b{right}\b"
    ):
        load_backbone(random_weights(wrong))


def test_a_name_like_no_other_still_says_where_to_look() -> None:
    with pytest.raises(UnknownBackboneError, match="featcache backbones") as caught:
        load_backbone(random_weights("qqqqqqqqqq"))
    assert "Nearest" not in str(caught.value)


def test_the_source_decides_which_library_is_asked() -> None:
    # Both have a resnet18, tapped by each library's own rule; auto means torchvision's.
    theirs = load_backbone(random_weights("resnet18", source="timm", input_size=32)).info.identity
    assert (theirs.source, theirs.tap) == ("timm", "output of global_pool")
    ours = load_backbone(random_weights("resnet18", input_size=32)).info.identity
    assert (ours.source, ours.tap) == ("torchvision", "input of fc")
    with pytest.raises(UnknownBackboneError, match="no classifier of torchvision"):
        load_backbone(random_weights("test_resnet", source="torchvision"))
    with pytest.raises(UnknownBackboneError, match="no classifier of timm"):
        load_backbone(random_weights("squeezenet1_1", source="timm"))


def test_a_name_alone_means_pretrained() -> None:
    with pytest.raises(InputError, match="pretrained weights IMAGENET1K_V1 are not on this machine"):
        load_backbone("squeezenet1_1")


# Networks of the user's own


def gives_a_list() -> list[int]:
    return [1, 2]


def gives_three() -> tuple[Any, ...]:
    return nn.Flatten(), Preprocessing(8, 8), "more"


def gives_a_map() -> tuple[nn.Module, Preprocessing]:
    return nn.Conv2d(3, 4, 1), Preprocessing(8, 8)


def needs_an_argument(width: int) -> nn.Module:
    return nn.Linear(width, 2)


def breaks() -> nn.Module:
    raise KeyError("my own fault")


def gives_features() -> nn.Module:
    """No classifier by any known name: taken as it is, at 224 pixels."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())


not_a_function = 3


def test_code_is_imported_only_where_that_is_allowed() -> None:
    with pytest.raises(UnknownBackboneError, match="--allow-custom"):
        load_backbone(ModelOptions(backbone=TINY))
    backbone = load_backbone(ModelOptions(backbone=TINY), allow_custom=True)
    assert backbone.features == 64 and backbone.preprocessing.input_size == 32
    assert backbone.info.identity.source == "custom" and backbone.info.origin.kind == "custom"


def test_a_function_of_ones_own_may_be_given_another_size() -> None:
    backbone = load_backbone(ModelOptions(backbone=TINY, input_size=64), allow_custom=True)
    assert (backbone.preprocessing.input_size, backbone.preprocessing.resize_size) == (64, 72)


def test_a_network_alone_gets_imagenets_preprocessing() -> None:
    backbone = load_backbone(ModelOptions(backbone=f"{HERE}:gives_features"), allow_custom=True)
    assert backbone.preprocessing == Preprocessing(224, 256)
    with torch.inference_mode():
        assert backbone(images_of(224)).shape == (2, 12)


def test_an_installed_entry_point_needs_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = EntryPoint("my_net", TINY, "featcache.backbones")

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [installed] if group == "featcache.backbones" else []

    # By the module itself: the package has a function of the same name.
    monkeypatch.setattr(import_module("featcache.backbones.custom_functions"), "entry_points", entry_points)
    backbone = load_backbone(ModelOptions(backbone="my_net"))
    assert (backbone.info.identity.backbone, backbone.info.identity.source) == ("my_net", "custom")
    assert backbone.features == 64
    assert "my_net" in [row.name for row in catalogue("my_*")]
    with pytest.raises(UnknownBackboneError, match="Nearest: my_net"):
        load_backbone(ModelOptions(backbone="my_nett", source="custom"))


@pytest.mark.parametrize("name", [f"{HERE}:missing", "no_such_package:net", ":", f"{HERE}:", "a:b:c"], ids=lambda n: n)
def test_a_function_that_cannot_be_imported_is_named(name: str) -> None:
    with pytest.raises(UnknownBackboneError, match="cannot be imported"):
        load_backbone(ModelOptions(backbone=name), allow_custom=True)


@pytest.mark.parametrize("name", ["needs_an_argument", "not_a_function"])
def test_a_function_that_needs_arguments_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"'{HERE}:{name}' is no function that can be called without arguments"):
        load_backbone(ModelOptions(backbone=f"{HERE}:{name}"), allow_custom=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gives_a_list", r"returned list; expected a torch\.nn\.Module"),
        ("gives_three", "gives_three"),
        ("gives_a_map", r"gave \(2, 4, 8, 8\) for 2 images; expected pooled features \[N, F\]"),
        ("breaks", "my own fault"),
    ],
)
def test_a_function_that_returns_rubbish_is_named(name: str, said: str) -> None:
    with pytest.raises(WorkError, match=said) as caught:
        load_backbone(ModelOptions(backbone=f"{HERE}:{name}"), allow_custom=True)
    assert name in str(caught.value)


# Sizes


def test_a_transformer_of_one_size_says_which() -> None:
    with pytest.raises(InputSizeError, match=r"vit_b_32 cannot take images of 64 x 64 .*It can take 224\."):
        load_backbone(random_weights("vit_b_32", input_size=64))


def test_a_network_that_needs_larger_images_says_from_which_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "featcache.backbones.network_building.SIZES_TO_TRY", (32, 64, 96, 128)
    )  # 512 pixels take a while
    with pytest.raises(InputSizeError, match=r"inception_v3 cannot take images of 64 x 64 .*It can take 96, 128\."):
        load_backbone(random_weights("inception_v3", input_size=64))


def test_a_network_that_is_built_for_its_size_does_not_say_that_none_works() -> None:
    with pytest.raises(InputSizeError, match=r"levit_128s cannot take images of 50 x 50 ") as caught:
        load_backbone(random_weights("levit_128s", input_size=50))
    assert "No usual size works" not in str(caught.value)  # 64 and the published 224 do, in a network built for them


def test_timms_transformers_are_built_for_the_size() -> None:
    backbone = load_backbone(random_weights("test_vit", input_size=64))
    assert backbone.preprocessing.input_size == 64
    with torch.inference_mode():
        assert backbone(images_of(64)).shape == (2, 64)


def test_without_a_size_it_is_the_published_one() -> None:
    assert load_backbone(random_weights("test_resnet")).preprocessing.input_size == 160
    preprocessing = load_backbone(random_weights("squeezenet1_1")).preprocessing
    assert (preprocessing.input_size, preprocessing.resize_size, preprocessing.interpolation) == (224, 256, "bilinear")


# The modules


def test_a_backbone_stays_frozen_whatever_its_parent_does() -> None:
    backbone = load_backbone(random_weights("shufflenet_v2_x0_5", input_size=32))
    parent = nn.Sequential(backbone, nn.Linear(1024, 2))
    parent.train()
    assert parent[1].training
    assert not any(m.training for m in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    images = images_of(32)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    features = backbone(images)
    parent(images).sum().backward()  # an epoch's step: neither statistics nor weights of the backbone move
    assert not features.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert all(p.grad is None for p in backbone.parameters())
    assert torch.equal(backbone(images), features)


@pytest.mark.parametrize(
    ("dims", "widths"),
    [
        (["auto", 16, 4], [512, 16, 4]),
        ([512, 32, 16, "auto"], [512, 32, 16, 4]),
        (["auto", "auto"], [512, 4]),
    ],
)
def test_the_model_has_the_head_that_classifier_dims_say(config: Config, dims: list[Any], widths: list[int]) -> None:
    options = parse_options(config(model={"classifier_dims": dims, "dropout": 0.3}))
    model = load_model(options, classes=4)
    layers = [m for m in model.head if isinstance(m, nn.Linear)]
    assert [layers[0].in_features, *(m.out_features for m in layers)] == widths
    assert [type(m) for m in model.head] == [nn.Linear, nn.ReLU, nn.Dropout] * (len(widths) - 2) + [nn.Linear]
    assert all(m.p == 0.3 for m in model.head if isinstance(m, nn.Dropout))
    assert all(p.requires_grad for p in model.head.parameters())
    assert model(images_of(32)).shape == (2, 4)


def test_the_heads_seed_is_the_trainings(config: Config) -> None:
    def head_of(seed: int) -> Tensor:
        return load_model(parse_options(config(training={"seed": seed}))).head[0].weight

    torch.manual_seed(99)
    before = torch.get_rng_state()
    first = head_of(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(head_of(1), first)
    assert not torch.equal(head_of(2), first)


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        ([2048, 16, 4], r"starts with 2048, but squeezenet1_1 gives 512 features\. Expected \[512, 16, 4\]"),
        (["auto", 16, 5], r"ends with 5, but the data has 4 classes\. Expected \[512, 16, 4\]"),
    ],
)
def test_dims_that_disagree_name_the_right_ones(config: Config, dims: list[Any], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        load_model(parse_options(config(model={"classifier_dims": dims})), classes=4)


def test_an_open_number_of_classes_must_be_given(config: Config) -> None:
    options = parse_options(config(model={"classifier_dims": ["auto", 16, "auto"]}))
    with pytest.raises(OptionsError, match="pass classes="):
        load_model(options)
    assert load_model(options, classes=3)(images_of(32)).shape == (2, 3)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_bfloat16_gives_float32_features_near_those_of_float32(name: str) -> None:
    options = random_weights(name, input_size=64)
    exact, narrow = load_backbone(options), load_backbone(options, precision="bfloat16")
    assert exact.info.identity.weights == narrow.info.identity.weights
    assert exact.info.identity != narrow.info.identity  # other rows
    images = images_of(64)
    with torch.inference_mode():
        expected, found = exact(images), narrow(images)
    assert found.dtype == torch.float32
    error = float((found - expected).norm() / expected.norm())
    assert 0 < error < 0.05  # 8 bits of mantissa through tens of layers; 0 would mean that nothing ran in bfloat16


# What is remembered


def options_of(config: Config, **model: Any) -> Options:
    return parse_options(config(model=model))


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Backbone:
        raise AssertionError("built again")

    monkeypatch.setattr("featcache.backbones.backbone_memo.make_backbone", refuse)


def test_a_backbone_is_described_without_building_it_twice(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of(config)
    first, built = describe_backbone(options)
    assert built is not None and built.info == first
    forbid_building(monkeypatch)
    again, nothing = describe_backbone(options)
    assert nothing is None and again == first
    for changed in ({"input_size": 48}, {"weights_seed": 1}, {"backbone": "squeezenet1_0"}):
        with pytest.raises(AssertionError, match="built again"):
            describe_backbone(options_of(config, **changed))


def test_precision_and_stored_type_are_part_of_the_description(config: Config) -> None:
    plain, _ = describe_backbone(parse_options(config()))
    narrow, _ = describe_backbone(parse_options(config(training={"precision": "bfloat16"})))
    wide, _ = describe_backbone(parse_options(config(cache={"dtype": "float32"})))
    assert len({plain.identity.short, narrow.identity.short, wide.identity.short}) == 3


def test_a_changed_weights_file_is_noticed(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    path = tmp_path / "mine.pth"
    torch.save(models.squeezenet1_1().state_dict(), path)
    options = options_of(config, weights=str(path), pretrained=True)
    first, _ = describe_backbone(options)
    torch.save(models.squeezenet1_1().state_dict(), path)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))  # a second later, whatever the clock's resolution
    second, built = describe_backbone(options)
    assert built is not None and second.identity.weights != first.identity.weights
    forbid_building(monkeypatch)
    assert describe_backbone(options)[0] == second


def test_a_remembered_backbone_knows_whether_it_fell_back(config: Config) -> None:
    describe_backbone(options_of(config, pretrained=False))
    fallen, built = describe_backbone(options_of(config, pretrained="if-available"))
    assert built is None and fallen.origin.fell_back  # same weights, so nothing to build; but nobody chose them
    assert not describe_backbone(options_of(config, pretrained=False))[0].origin.fell_back


def test_remembered_weights_that_are_gone_are_an_error(config: Config, tmp_path: Path) -> None:
    from torchvision import models

    path = tmp_path / "mine.pth"
    torch.save(models.squeezenet1_1().state_dict(), path)
    options = options_of(config, weights=str(path), pretrained=True)
    describe_backbone(options)
    path.unlink()
    with pytest.raises(FeatcacheError, match=r"mine\.pth does not exist"):
        describe_backbone(options)


def test_a_function_of_ones_own_is_never_remembered(config: Config) -> None:
    options = options_of(config, backbone=TINY, input_size=None, pretrained=True)  # its code may have changed
    assert describe_backbone(options, allow_custom=True)[1] is not None
    assert describe_backbone(options, allow_custom=True)[1] is not None


def test_a_torn_memo_is_written_anew(config: Config) -> None:
    options = options_of(config)
    first, _ = describe_backbone(options)
    memo = Path(options.cache.dir) / "memo" / "backbones.json"
    memo.write_text(memo.read_text()[:40])
    assert describe_backbone(options)[0] == first
    assert describe_backbone(options)[1] is None


# The list


def test_the_catalogue_knows_sizes_of_both_libraries() -> None:
    rows = {row.source: row for row in catalogue("resnet152")}
    assert set(rows) == {"torchvision", "timm"}
    assert (rows["torchvision"].features, rows["torchvision"].input_size) == (2048, 224)
    assert rows["torchvision"].weights == "IMAGENET1K_V2" and not rows["torchvision"].place
    assert rows["timm"].features == 2048 and rows["timm"].weights == "a1h_in1k"


@pytest.mark.parametrize(
    ("name", "features", "size"),
    [
        ("vgg16", 25088, 224),
        ("inception_v3", 2048, 299),
        ("squeezenet1_0", 512, 224),
        ("mobilenet_v3_large", 960, 224),
        ("vit_b_16", 768, 224),
        ("vit_h_14", 1280, 518),  # its default weights are for larger images than the others'
    ],
)
def test_the_catalogue_has_features_and_input_size(name: str, features: int, size: int) -> None:
    row = next(row for row in catalogue(name) if row.source == "torchvision")
    assert (row.features, row.input_size) == (features, size)


def test_without_a_pattern_the_catalogue_is_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.backbones.name_catalogue.MAX_SIZED", 0)  # names alone: sizes of all take 20 seconds
    rows = catalogue()
    assert len(rows) >= 80 and {row.source for row in rows} == {"torchvision"}
    assert all(row.weights.startswith("IMAGENET1K_") for row in rows)


@pytest.mark.slow
def test_the_catalogue_knows_the_size_of_every_torchvision_model() -> None:
    assert [row.name for row in catalogue() if not row.features or not row.input_size] == []


def test_a_glob_lists_timm_with_sizes_and_tags() -> None:
    rows = {row.name: row for row in catalogue("test_re*")}
    assert rows["test_resnet"].source == "timm"
    assert (rows["test_resnet"].features, rows["test_resnet"].input_size) == (96, 160)
    assert rows["test_resnet"].weights == "r160_in1k"


def test_the_catalogue_agrees_with_what_is_built() -> None:
    for name in ("mobilenet_v3_small", "test_vit", "mobilenetv3_small_050"):
        (row,) = catalogue(name)
        backbone = load_backbone(random_weights(name))
        assert (row.features, row.input_size) == (backbone.features, backbone.preprocessing.input_size), name


def test_weights_in_the_hubs_cache_are_at_hand() -> None:
    file = Path(torch.hub.get_dir()) / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    assert [row.place for row in catalogue("squeezenet1_1")] == [""]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"here")
    assert [row.place for row in catalogue("squeezenet1_1")] == ["the hub's cache"]


def test_a_pattern_that_fits_nothing_is_an_error() -> None:
    with pytest.raises(UnknownBackboneError, match="no backbone is named like 'resnot'"):
        catalogue("resnot")


def test_a_device_that_is_none_is_bad_input(config: Callable[..., dict[str, Any]]) -> None:
    for load in (partial(load_model, classes=4), load_backbone):
        with pytest.raises(InputError, match="nonsense"):
            load(config(), device="nonsense")
