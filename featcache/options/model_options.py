"""The section `model`: which backbone with which weights, and the head on top of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

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


class ModelOptions(Section):
    """The network: a backbone and the head on top of it."""

    backbone: Annotated[str, Field(min_length=1)]
    """Name of a torchvision or timm classifier, of an installed `featcache.backbones` entry point, or
    `package.module:function` together with `--allow-custom`. Several joined by `+` give their features side by side."""
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
    def _auto_only_at_the_ends(self) -> ModelOptions:
        if "auto" in self.classifier_dims[1:-1]:
            raise ValueError("only the first and the last of model.classifier_dims may be 'auto'")
        if self.weights is not None and self.pretrained is False:
            raise ValueError("model.weights is given and model.pretrained is false: drop one of the two")
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise ValueError(f"model.backbone is {self.backbone!r}: expected different names between the + signs")
        if self.weights is not None and len(self.names) > 1:
            raise ValueError(f"model.weights is given and model.backbone names {len(self.names)}: drop model.weights")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The backbones: one, or those that are joined."""
        return tuple(name.strip() for name in self.backbone.split("+"))

    @property
    def parts(self) -> tuple[ModelOptions, ...]:
        """The options of each backbone alone; how wide all features together are is no matter of one."""
        if len(self.names) == 1:
            return (self,)
        dims = ("auto", *self.classifier_dims[1:])
        return tuple(self.model_copy(update={"backbone": name, "classifier_dims": dims}) for name in self.names)
