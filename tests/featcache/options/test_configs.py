"""Every options file that is shipped loads, names a network that exists and fits it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from featcache.backbones import find_source
from featcache.backbones.classifier_removal import remove_classifier
from featcache.options.json_schema import options_schema
from featcache.options.loading import load_options

CONFIGS = Path(__file__).parents[3] / "configs"
EVERY = sorted(
    p
    for p in CONFIGS.rglob("*.json")
    if not p.name.endswith(".schema.json") and p.parent.name not in ("sweeps", "searches")
)
DEMO = sorted((CONFIGS / "demo").glob("*.json"))
PHASE1 = sorted((CONFIGS / "phase1").glob("*.json"))

# What Phase 1 has to compare; beside them, two or more that torchvision lacks.
REQUIRED = {
    "resnet18",
    "resnet50",
    "resnet152",
    "densenet201",
    "swin_t",
    "convnext_tiny",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "mobilenet_v3_large",
    "regnet_y_3_2gf",
    "vit_b_16",
    "vgg16",
    "inception_v3",
}


def name_of(file: Path) -> str:
    return str(file.relative_to(CONFIGS))


def test_there_are_as_many_as_there_should_be() -> None:
    # Without the counts a wrong glob would test nothing.
    assert len(EVERY) >= 30
    assert len(DEMO) >= 12
    assert len(PHASE1) >= 15


@pytest.mark.parametrize("file", EVERY, ids=name_of)
def test_loads_and_names_a_known_backbone(file: Path) -> None:
    options = load_options(file)
    source = find_source(options.model.backbone, options.model.source)
    assert source.name in {"torchvision", "timm"}
    if options.model.source != "auto":
        assert source.name == options.model.source


def test_experiment_names_are_distinct() -> None:
    names = [load_options(file).experiment_name for file in EVERY]
    assert len(set(names)) == len(names)


def test_editors_find_the_schema() -> None:
    for file in EVERY:
        assert (file.parent / json.loads(file.read_text())["$schema"]).resolve() == CONFIGS / "options.schema.json"


def test_the_schema_is_fresh() -> None:
    shipped = json.loads((CONFIGS / "options.schema.json").read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(options_schema()))


def test_phase1_has_the_backbones_to_compare() -> None:
    backbones = {load_options(file).model.backbone for file in PHASE1}
    assert backbones >= REQUIRED
    assert len(backbones - set(models.list_models(module=models))) >= 2


@pytest.mark.parametrize("file", PHASE1, ids=name_of)
def test_phase1_runs_at_the_published_size(file: Path) -> None:
    model = load_options(file).model
    # From the libraries' own records, not from ours.
    if find_source(model.backbone, model.source).name == "torchvision":
        published = models.get_model_weights(model.backbone).DEFAULT.transforms().crop_size[0]
    else:
        published = timm.get_pretrained_cfg(model.backbone).input_size[-1]
    assert model.input_size == published
    assert model.pretrained is True


def test_inception_runs_at_299() -> None:
    (size,) = {o.model.input_size for o in map(load_options, PHASE1) if o.model.backbone == "inception_v3"}
    assert size == 299


@pytest.mark.parametrize("file", DEMO, ids=name_of)
def test_demo_runs_anywhere(file: Path) -> None:
    options = load_options(file)
    assert options.data.path == "demo:digits"
    control = file.stem.endswith("_random")
    assert options.model.pretrained == (False if control else "if-available")  # without a network, too


def test_each_control_of_the_demo_has_its_pretrained_twin() -> None:
    controls = [load_options(file).model for file in DEMO if file.stem.endswith("_random")]
    twins = {(m.backbone, m.input_size) for m in (load_options(f).model for f in DEMO) if m.pretrained}
    assert len(controls) >= 3 and {(m.backbone, m.input_size) for m in controls} <= twins


@pytest.mark.parametrize("file", [*DEMO, *PHASE1], ids=name_of)
def test_the_network_takes_images_of_its_size(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for initialiser in ("trunc_normal_", "normal_", "kaiming_normal_", "kaiming_uniform_", "uniform_"):
        monkeypatch.setattr(nn.init, initialiser, lambda tensor, *args, **kwargs: tensor)  # slow, and of no matter here
    model = load_options(file).model
    source = find_source(model.backbone, model.source)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        network, preprocessing = source.build(model.backbone, None, None, model.input_size)
        trunk, _ = remove_classifier(network.eval().to("meta"))  # shapes alone: nothing is computed
        side = preprocessing.input_size
        features = trunk.eval()(torch.empty(2, 3, side, side, device="meta"))
    assert side == model.input_size
    assert features.ndim == 2
    assert len(features) == 2
