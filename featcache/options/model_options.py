"""The section `model`: which backbone with which weights, and the head on top of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from featcache.options.backbone_names import contradiction, joined_names, plain_names, take_apart
from featcache.options.known_names import OneOf
from featcache.options.option_types import Count, Section
from featcache.plugins import plugin_names

SOURCE_PLUGINS = "featcache.sources"  # the entry points of installed packages that bring libraries of backbones
BUILT_IN_SOURCES = ("auto", "torchvision", "timm", "custom")


def source_names() -> tuple[str, ...]:
    """What `model.source` can be: the built-in names, and those of installed packages."""
    *libraries, custom = BUILT_IN_SOURCES
    return (*libraries, *plugin_names(SOURCE_PLUGINS, BUILT_IN_SOURCES), custom)


SourceName = Annotated[str, OneOf(source_names, BUILT_IN_SOURCES)]


def _one_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        raise PydanticCustomError(
            "one_text",
            "input should be one name, or several joined by + as in 'resnet18+resnet50' (to compare backbones, give "
            "each a file of its own, or list them in a sweep's space)",
        )
    return value


class ModelOptions(Section):
    """The network: a backbone and the head on top of it."""

    backbone: Annotated[str, Field(min_length=1), BeforeValidator(_one_text)]
    """Name of a torchvision or timm classifier (`timm/` or `torchvision/` before it is `source`), of an installed
    `featcache.backbones` entry point, or `package.module:function` together with `--allow-custom`; `hf-hub:ORG/REPO` or
    `local-dir:PATH` with timm's config.json. Several joined by `+` give their features side by side."""
    source: SourceName = "auto"
    """Which library the name is looked up in; auto: torchvision, then timm, then custom."""
    input_size: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Side of the square input in pixels; null: the size the weights were published for."""
    classifier_dims: Annotated[tuple[Count | Literal["auto"], ...], Field(min_length=2)] = (
        "auto",
        1024,
        "auto",
    )
    """Widths of the head from the backbone's features to the classes; `auto` at either end is discovered."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout before the head's last layer and between its hidden layers."""
    pretrained: bool | Literal["if-available"] = True
    """true: pretrained weights or an error; false: seeded random weights; if-available: may fall back, loudly."""
    weights: str | None = None
    """A local checkpoint (`run/last.ckpt`, one of several state dicts in it as `run/last.ckpt:teacher`, an index of
    shards or its folder), or the name of published weights such as IMAGENET1K_V1."""
    weights_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of random weights; every run with the same seed shares its cached rows."""

    @model_validator(mode="after")
    def _without_prefixes(self) -> ModelOptions:
        """One name for a network however it is typed, so that stores, runs and sweeps know it again."""
        backbone, source = plain_names(self.backbone, self.source)
        self.__dict__.update(backbone=backbone, source=source)  # frozen from here on
        return self

    @model_validator(mode="after")
    def _auto_only_at_the_ends(self) -> ModelOptions:
        if "auto" in self.classifier_dims[1:-1]:
            raise ValueError("only the first and the last of model.classifier_dims may be 'auto'")
        if self.weights is not None and self.pretrained is False:
            raise ValueError("model.weights is given and model.pretrained is false: drop one of the two")
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise ValueError(f"model.backbone is {self.backbone!r}: expected different names between the + signs")
        if self.weights is not None and len(self.names) > 1:
            raise ValueError(f"model.weights is given and model.backbone names {len(self.names)}: drop model.weights")
        wrong = contradiction(self.backbone, self.source)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The backbones: one, or those that are joined."""
        return joined_names(self.backbone)

    @property
    def parts(self) -> tuple[ModelOptions, ...]:
        """The options of each backbone alone; how wide all features together are is no matter of one."""
        if len(self.names) == 1:
            return (self,)
        update = {"classifier_dims": ("auto", *self.classifier_dims[1:])}
        apart = [take_apart(name) for name in self.names]
        return tuple(
            self.model_copy(update={**update, "backbone": name, "source": library or self.source})
            for library, name in apart
        )
