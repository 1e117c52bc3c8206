"""A name in torchvision or timm in, its published weights and its network out.

Another library is a class here with a place in LIBRARIES, and its name in `BUILT_IN_SOURCES` of
`featcache/options/model_options.py`. One that another package brings needs nothing here: see `source.py`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from featcache.backbones.configured_network import (
    forget_weights,
    is_configured,
    published_weights,
    read_network,
    weights_overlay,
)
from featcache.backbones.source import Published, Source
from featcache.counted_nouns import counted
from featcache.errors import WorkError
from featcache.records import Preprocessing


class Torchvision:
    """torchvision's classification models."""

    name = "torchvision"

    def names(self) -> list[str]:
        """Every classification model."""
        from torchvision import models

        return sorted(models.list_models(module=models))

    def has(self, name: str) -> bool:
        """Whether torchvision has it."""
        return name in self.names()

    def published(self, name: str) -> list[Published]:
        """Its weights enum, the default first."""
        enum = self._enum(name)
        ordered = [enum.DEFAULT, *(w for w in enum if w is not enum.DEFAULT)]
        return [Published(w.name, w.url) for w in ordered]

    def build(
        self, name: str, published: Published | None, weights_file: Path | None, input_size: int | None
    ) -> tuple[nn.Module, Preprocessing]:
        """The network; its hub file must be in torch's hub cache already."""
        from torchvision import models

        enum = self._enum(name)
        weights = enum[published.label] if published and weights_file else None
        preset = (enum[published.label] if published else enum.DEFAULT).transforms()
        # Both were trained on inputs scaled otherwise and rescale by themselves when told so, as the hub's loader does.
        extra: dict[str, Any] = {"transform_input": True} if name in {"inception_v3", "googlenet"} else {}
        if name.startswith("vit_") and weights is None:  # their position embeddings are made for one size
            extra["image_size"] = preset.crop_size[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of their initialisation's default
            network: nn.Module = models.get_model(name, weights=weights, **extra)
        preprocessing = Preprocessing(
            input_size=preset.crop_size[0],
            resize_size=preset.resize_size[0],
            interpolation=preset.interpolation.value,
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        )
        return network, preprocessing.at(input_size) if input_size else preprocessing

    def _enum(self, name: str) -> Any:
        from torchvision import models

        return models.get_model_weights(name)


class Timm:
    """Every classifier of timm."""

    name = "timm"

    def names(self) -> list[str]:
        """Every architecture; `architecture.tag` names its weights too."""
        import timm

        return sorted(timm.list_models())

    def has(self, name: str) -> bool:
        """Whether timm has the architecture, and the tag when one is given; or the name is of a place with a config."""
        import timm

        if is_configured(name):
            return True
        architecture, dot, _ = name.partition(".")
        if architecture in timm.models.get_deprecated_models():
            return False  # it goes by another name now
        return bool(timm.is_model(architecture)) and (not dot or name in timm.list_pretrained(f"{architecture}.*"))

    def published(self, name: str) -> list[Published]:
        """The tags of its weights, the default first."""
        import timm

        if is_configured(name):
            return published_weights(name)
        architecture, _, tag = name.partition(".")
        every = timm.list_pretrained(f"{architecture}.*")
        default = name if tag else f"{architecture}.{self._config(architecture).tag}"
        ordered = [n for n in [default, *every] if n in every]
        return [self._published(n) for n in dict.fromkeys(ordered)]

    def build(
        self, name: str, published: Published | None, weights_file: Path | None, input_size: int | None
    ) -> tuple[nn.Module, Preprocessing]:
        """The network; timm itself reads `weights_file`, resampling position embeddings where the size differs."""
        import timm

        if is_configured(name):
            network = read_network(name).build(weights_file, input_size)
            return network, self._preprocessing(network, input_size)
        architecture = name.partition(".")[0]
        full = f"{architecture}.{published.label}" if published else name
        config = self._config(full)
        extra: dict[str, Any] = {}
        if input_size and config.fixed_input_size and input_size != config.input_size[-1]:
            extra["img_size"] = input_size
        if weights_file:
            extra["pretrained_cfg_overlay"] = {**weights_overlay(name, weights_file), "custom_load": False}
        network = timm.create_model(full, pretrained=weights_file is not None, **extra)
        forget_weights(network)
        return network, self._preprocessing(network, input_size)

    def _preprocessing(self, network: nn.Module, input_size: int | None) -> Preprocessing:
        from timm.data.config import resolve_model_data_config

        config: dict[str, Any] = resolve_model_data_config(network)
        channels, height, width = config["input_size"]
        if channels != 3:
            raise WorkError(f"the network takes {counted(channels, 'channel')}; featcache feeds RGB images.")
        if config["crop_mode"] not in {"center", "squash"}:
            raise WorkError(
                f"the network wants the crop mode {config['crop_mode']!r}; featcache has center and squash."
            )
        side = input_size or max(height, width)
        return Preprocessing(
            input_size=side,
            resize_size=math.floor(side / config["crop_pct"]),  # as timm's own evaluation transform rounds it
            resize_mode="squash" if config["crop_mode"] == "squash" else "shorter",
            interpolation=config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )

    def _config(self, full: str) -> Any:
        """timm's record of a name: its tag, where its weights lie, what input they were trained on."""
        import timm

        return timm.get_pretrained_cfg(full)

    def _published(self, full: str) -> Published:
        config = self._config(full)
        label = full.partition(".")[2] or "default"
        if config.hf_hub_id:
            repository = config.hf_hub_id + (full if config.hf_hub_id.endswith("/") else "")
            files = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
            return Published(label, f"https://huggingface.co/{repository}", repository, files)
        return Published(label, config.url)


# In the order that `auto` asks them.
LIBRARIES: dict[str, Callable[[], Source]] = {"torchvision": Torchvision, "timm": Timm}
