"""Where a backbone's name is looked up: featcache's libraries, those of installed packages, functions."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, tiny_backbone
from torch import nn

from featcache.backbones import describe_backbone, find_source, load_backbone, load_model, sources
from featcache.backbones.libraries import LIBRARIES
from featcache.backbones.name_catalogue import catalogue
from featcache.backbones.source import Published, Source
from featcache.errors import OptionsError, PluginError, UnknownBackboneError
from featcache.options import options_schema, parse_options
from featcache.options.model_options import BUILT_IN_SOURCES, ModelOptions
from featcache.records import Preprocessing

Config = Callable[..., dict[str, Any]]
Install = Callable[..., None]
HERE = Path(__file__).stem


class Zoo:
    """A library of three networks; two of their names are others' too."""

    name = "zoo"

    def names(self) -> list[str]:
        return ["resnet18", "zoo_net", TINY]

    def has(self, name: str) -> bool:
        return name in self.names()

    def published(self, name: str) -> list[Published]:
        return [Published("V1", "https://zoo.example/zoo_net-1.pth")] if name == "zoo_net" else []

    def build(
        self, name: str, published: Published | None, weights_file: Path | None, input_size: int | None
    ) -> tuple[nn.Module, Preprocessing]:
        network, preprocessing = tiny_backbone()
        if published and weights_file:
            network.load_state_dict(torch.load(weights_file))
        return network, preprocessing.at(input_size) if input_size else preprocessing


zoo = Zoo()
not_a_source = 3


class Demanding(Zoo):
    """It cannot be made without being told something."""

    def __init__(self, key: str) -> None:
        self.key = key


class Halfway:
    """It lacks methods."""

    name = "zoo"

    def names(self) -> list[str]:
        return []


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Entry points of the group as if packages had brought them: name=object."""

    def entries(*named: tuple[str, str]) -> None:
        found = [EntryPoint(name, value, "featcache.sources") for name, value in named]
        monkeypatch.setattr(
            "featcache.plugins.entry_points", lambda *, group: found if group == "featcache.sources" else []
        )

    return entries


def test_the_names_of_options_are_the_libraries_and_functions() -> None:
    assert ("auto", *LIBRARIES, "custom") == BUILT_IN_SOURCES
    assert list(sources()) == [*LIBRARIES, "custom"]


def test_every_source_is_one() -> None:
    for name, source in sources().items():
        assert isinstance(source, Source)
        assert source.name == name
        assert source.names() == sorted(source.names())
        assert not source.has("no_network_is_called_so")
        for one in source.names()[:3]:
            assert source.has(one)
            assert all(isinstance(p, Published) and p.label and p.url for p in source.published(one))


@pytest.mark.parametrize("value", ["Zoo", "zoo"], ids=["class", "instance"])
def test_a_package_brings_a_library(install: Install, config: Config, value: str) -> None:
    install(("zoo", f"{HERE}:{value}"))
    options = parse_options(config(model={"backbone": "zoo_net", "source": "zoo"}))
    backbone = load_backbone(options)
    assert (backbone.info.identity.source, backbone.info.identity.backbone) == ("zoo", "zoo_net")
    assert backbone.info.origin.label == "random(0)" and backbone.features == 64
    assert load_model(options, classes=4)(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_its_published_weights_are_those_of_any_other(install: Install) -> None:
    install(("zoo", f"{HERE}:Zoo"))
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    hub.mkdir(parents=True)
    network = tiny_backbone()[0]
    nn.init.ones_(network.features[0].weight)
    torch.save(network.state_dict(), hub / "zoo_net-1.pth")
    assert [(row.source, row.weights, row.place) for row in catalogue("zoo_*")] == [("zoo", "V1", "the hub's cache")]
    backbone = load_backbone("zoo_net")
    assert (backbone.info.origin.kind, backbone.info.origin.label) == ("hub", "V1")
    assert bool((backbone.network.get_parameter("features.0.weight") == 1).all())


def test_auto_asks_featcaches_libraries_then_packages_then_functions(install: Install) -> None:
    install(("zoo", f"{HERE}:Zoo"))
    assert list(sources()) == ["torchvision", "timm", "zoo", "custom"]
    assert find_source("resnet18").name == "torchvision"
    assert find_source("zoo_net").name == "zoo"
    assert find_source(TINY, allow_custom=True).name == "zoo"
    assert find_source(f"{HERE}:zoo", allow_custom=True).name == "custom"
    assert find_source("resnet18", "zoo").name == "zoo"
    with pytest.raises(UnknownBackboneError, match=r"no classifier of torchvision or timm or zoo or custom\..*zoo_net"):
        find_source("zoo_nett")


def test_nothing_of_a_package_is_imported_unless_it_is_needed(install: Install, config: Config) -> None:
    install(("zoo", "no_such_package.at_all:Zoo"))
    assert find_source("squeezenet1_1").name == "torchvision"
    assert find_source("test_resnet").name == "timm"
    assert find_source(TINY, "custom", allow_custom=True).name == "custom"
    assert parse_options(config(model={"source": "zoo"})).model.source == "zoo"
    for name, source in (("zoo_net", "auto"), ("zoo_net", "zoo")):
        with pytest.raises(PluginError, match=r"entry point 'zoo' in 'featcache\.sources'.*cannot be imported"):
            find_source(name, source)


def test_options_know_the_sources_of_packages(install: Install, config: Config) -> None:
    said = "model.source: input should be 'auto', 'torchvision', 'timm'{} or 'custom', got \"zo\""
    schema = options_schema()
    install()
    with pytest.raises(OptionsError, match=said.format("")):
        parse_options(config(model={"source": "zo"}))
    with pytest.raises(OptionsError, match=r"model.source"):
        parse_options(config(model={"source": "zoo"}))
    install(("zoo", f"{HERE}:Zoo"))
    with pytest.raises(OptionsError, match=said.format(", 'zoo'")):
        parse_options(config(model={"source": "zo"}))
    assert options_schema() == schema
    with pytest.raises(OptionsError, match="expected one of auto, torchvision, timm, zoo, custom"):
        find_source("resnet18", "zo")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("not_a_source", r"is int; expected a featcache\.backbones\.source\.Source"),
        ("Halfway", r"is Halfway; expected a featcache\.backbones\.source\.Source"),
        ("Demanding", "missing 1 required positional argument"),
        ("missing", "cannot be imported"),
    ],
)
def test_what_is_no_source_is_refused(install: Install, value: str, said: str) -> None:
    install(("zoo", f"{HERE}:{value}"))
    with pytest.raises(PluginError, match=said):
        load_backbone(ModelOptions(backbone="zoo_net", source="zoo"))


def test_names_of_sources_are_one_and_the_same_and_nobody_elses(install: Install) -> None:
    install(("menagerie", f"{HERE}:Zoo"))
    with pytest.raises(PluginError, match=r"entry point 'menagerie'.*calls itself 'zoo'"):
        find_source("zoo_net")
    install(("timm", f"{HERE}:Zoo"))
    with pytest.raises(PluginError, match=r"entry point 'timm'.*the name is taken"):
        find_source("zoo_net")
    install(("zoo", f"{HERE}:Zoo"), ("zoo", f"{HERE}:zoo"))
    with pytest.raises(PluginError, match=r"entry point 'zoo'.*the name is taken"):
        find_source("zoo_net")


def test_what_a_package_builds_is_built_again(install: Install, config: Config) -> None:
    """Its version is not in the memo's key, and its code may be another tomorrow."""
    install(("zoo", f"{HERE}:Zoo"))
    options = parse_options(config(model={"backbone": "zoo_net", "source": "zoo"}))
    assert describe_backbone(options)[1] is not None
    assert describe_backbone(options)[1] is not None
