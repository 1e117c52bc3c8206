"""`hf-hub:ORG/REPO` or `local-dir:PATH` in, the network that timm's config.json there describes out.

The config says the architecture, its arguments and the transform; timm's own loader builds from it. The weights are
read here, as tensors and nothing else: what a pickle may run is never run, whichever version of timm is installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from torch import nn

from featcache.backbones.checkpoint_loading import read_state_dict
from featcache.backbones.other_names import names_elsewhere
from featcache.backbones.source import Published
from featcache.backbones.weights import get_file
from featcache.errors import UnknownBackboneError, WeightsError
from featcache.options import CONFIGURED, FOLDER, HUB
from featcache.records import Preprocessing, digest

# As timm prefers them.
WEIGHTS_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
WEIGHTS_ENDINGS = (".safetensors", ".pth", ".pth.tar", ".bin")


@dataclass(frozen=True)
class ConfiguredNetwork:
    """What a config.json of timm's says."""

    name: str  # as model.backbone spells it
    folder: Path  # where the config lies
    architecture: str  # of timm
    arguments: Mapping[str, Any]  # of its constructor
    record: Mapping[str, Any]  # timm's pretrained_cfg: input size, mean, interpolation, ..

    @property
    def network_name(self) -> str:
        """The same for the same architecture and arguments wherever the folder lies and whatever it is called."""
        return f"{self.architecture}-{digest(self.arguments)[:8]}" if self.arguments else self.architecture

    @property
    def config_digest(self) -> str:
        """Of all that the config says of the network and its transform."""
        return digest([self.architecture, dict(self.arguments), dict(self.record)])

    def build(self, weights_file: Path | None, input_size: int | None) -> nn.Module:
        """The network, with the weights or freshly initialised; raises WeightsError, or what timm raises."""

        extra = {"img_size": input_size} if input_size and self.record.get("fixed_input_size") else {}
        overlay = {"source": "", "file": "", "custom_load": False, **weights_overlay(self.name, weights_file)}
        try:
            network = self._create(weights_file is not None, overlay, extra)
        except Exception as error:  # of timm, torch and safetensors
            if weights_file is None:
                raise
            self._create(False, {}, extra)  # what fails without weights too is not their fault
            lines = " ".join(line.strip() for line in str(error).splitlines()[:3])
            raise WeightsError(
                f"{self.name}: {weights_file} does not fit {self.architecture}, which config.json names "
                f"({lines if len(lines) < 200 else f'{lines[:200]} ..'}). Are the two of the same model?"
            ) from None
        forget_weights(network)
        return network

    def _create(self, pretrained: bool, overlay: Mapping[str, Any], extra: Mapping[str, Any]) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(
            f"{FOLDER}{self.folder}", pretrained=pretrained, pretrained_cfg_overlay=dict(overlay), **extra
        )
        return network


def weights_overlay(name: str, file: Path | None) -> dict[str, Any]:
    """What to lay over timm's record of a network so that it loads `file`. A pickle is read here, as tensors alone:
    some versions of timm let it run code. Raises WeightsError."""
    if file is None or file.suffix == ".safetensors":
        return {"file": str(file or "")}
    try:
        return {"state_dict": read_state_dict(file)}
    except WeightsError as error:
        raise WeightsError(f"{name}: {str(error).removeprefix('model.weights: ')}") from None


def forget_weights(network: nn.Module) -> None:
    """Take the weights out of the record that timm keeps with a network: they would stay in memory twice."""
    record: dict[str, Any] = dict(network.pretrained_cfg)  # type: ignore[arg-type]  # timm's own attribute
    network.pretrained_cfg = {k: v for k, v in record.items() if k != "state_dict"}  # type: ignore[assignment]


def is_configured(name: str) -> bool:
    """Whether the name is of a repository or a folder with a config."""
    return name.startswith(CONFIGURED)


def network_name(name: str) -> str:
    """What the network is called in the identity: `name`, or what the config at `name` describes."""
    return read_network(name).network_name if is_configured(name) else name


def read_network(name: str) -> ConfiguredNetwork:
    """The network at `name`, its config downloaded if need be.

    Raises UnknownBackboneError where there is no config that timm understands, WeightsError where the hub does not give
    it.
    """
    file = _hub_config(name) if name.startswith(HUB) else _folder_config(name)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownBackboneError(
            f"model.backbone: {name}: {file} is no JSON ({error}). Expected the config.json that timm writes beside "
            "a model's weights (timm.models.save_for_hf)."
        ) from None
    architecture = value.get("architecture") if isinstance(value, dict) else None
    if not isinstance(architecture, str):
        raise UnknownBackboneError(
            f'model.backbone: {name}: {file} is not timm\'s: it has no "architecture"{_whose(value)}. Expected the '
            "config.json that timm writes beside a model's weights (timm.models.save_for_hf)."
        )
    return _described(name, file, architecture)


def _described(name: str, file: Path, architecture: str) -> ConfiguredNetwork:
    import timm
    from timm.models._hub import load_model_config_from_path

    if not timm.is_model(architecture):
        raise UnknownBackboneError(
            f"model.backbone: {name}: {file} names the architecture {architecture!r}, which timm {timm.__version__} "
            "does not have. Correct it, or install the version of timm that has it."
        )
    try:
        record, architecture, arguments = load_model_config_from_path(file.parent)
        timm.models.PretrainedCfg(**record)
        _require_transform(record)
        record = {k: v for k, v in record.items() if k not in {"file", "source"}}
        return ConfiguredNetwork(name, file.parent, architecture, dict(arguments), record)
    except Exception as error:  # whatever timm stumbles over in a file that somebody wrote by hand
        raise UnknownBackboneError(
            f"model.backbone: {name}: timm cannot use {file} ({type(error).__name__}: {error}). Expected the "
            "config.json that timm writes beside a model's weights (timm.models.save_for_hf)."
        ) from None


def _require_transform(record: Mapping[str, Any]) -> None:
    """Raise ValueError where a config's numbers are none: its transform would be noticed only by the first image."""
    for key in ("mean", "std"):
        value = record.get(key, (0.5, 0.5, 0.5))
        if not isinstance(value, list | tuple) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
            raise ValueError(f"{key} is {value!r}, expected three numbers")
        if not all(math.isfinite(v) and (v > 0 or key == "mean") for v in value):  # images are divided by std
            raise ValueError(f"{key} is {value!r}, expected finite numbers{', above 0' if key == 'std' else ''}")
    size, crop = record.get("input_size", (3, 224, 224)), record.get("crop_pct", 1.0)
    if not isinstance(size, list | tuple) or len(size) != 3 or not all(isinstance(v, int) and v > 0 for v in size):
        raise ValueError(f"input_size is {size!r}, expected channels, height and width")
    if crop is not None and (not isinstance(crop, int | float) or not 0 < crop <= 2):
        raise ValueError(f"crop_pct is {crop!r}, expected a number such as 0.875")
    known = get_args(get_type_hints(Preprocessing)["interpolation"])
    if record.get("interpolation", "bicubic") not in known:
        raise ValueError(f"interpolation is {record['interpolation']!r}, expected one of {', '.join(known)}")


def published_weights(name: str) -> list[Published]:
    """The weights beside the config. Raises WeightsError where the folder holds none, or several to choose from."""
    network = read_network(name)
    if name.startswith(HUB):
        repository, revision = _repository(name)
        own = network.record.get("hf_hub_filename")
        files = (own,) if isinstance(own, str) and own else WEIGHTS_FILES
        url = f"https://huggingface.co/{repository}"
        return [Published(revision or "main", url, repository, files, revision)]
    file = _weights_in(name, network.folder)
    return [Published(file.name, file.resolve().as_uri(), path=str(file.resolve()))]


def _weights_in(name: str, folder: Path) -> Path:
    for preferred in WEIGHTS_FILES:
        if (folder / preferred).is_file():
            return folder / preferred
    for ending in WEIGHTS_ENDINGS:
        found = sorted(p for p in folder.glob(f"*{ending}") if p.is_file())
        if len(found) > 1:
            raise WeightsError(
                f"{name}: {folder} holds {', '.join(p.name for p in found[:4])}: which of them are the weights? Call "
                f"the one {WEIGHTS_FILES[0]} (or {WEIGHTS_FILES[3]}), or name it as model.weights."
            )
        if found:
            return found[0]
    raise WeightsError(
        f"{name}: {folder} holds a config.json and no weights. Expected {WEIGHTS_FILES[0]}, {WEIGHTS_FILES[1]} or "
        f"another file that ends in {', '.join(WEIGHTS_ENDINGS)}. Put it there, name it as model.weights, or set "
        "model.pretrained to false for seeded random weights."
    )


def _folder_config(name: str) -> Path:
    folder = Path(name.removeprefix(FOLDER)).expanduser()
    if not folder.is_dir():
        joined = " To join it with other networks, write ' + ' with spaces." if "+" in name else ""
        raise UnknownBackboneError(
            f"model.backbone: {name}: {folder.absolute()} is no folder. Expected one with timm's config.json and the "
            f"weights; a relative path starts in the current folder.{joined}"
        )
    if not (folder / "config.json").is_file():
        raise UnknownBackboneError(
            f"model.backbone: {name}: {folder} holds no config.json. Expected the one that timm writes beside a "
            "model's weights (timm.models.save_for_hf). For a file of weights alone, name the architecture as "
            "model.backbone and the file as model.weights."
        )
    return (folder / "config.json").absolute()


def _hub_config(name: str) -> Path:
    repository, revision = _repository(name)
    elsewhere = names_elsewhere(repository)
    if elsewhere is not None:  # known not to be timm's: no reason to ask the hub
        raise UnknownBackboneError(
            f"model.backbone: {name}: that repository has no config of timm's. Did you mean {elsewhere.names[0]!r}? "
            f"{elsewhere.note}".rstrip()
        )
    config = Published("config.json", f"https://huggingface.co/{repository}", repository, ("config.json",), revision)
    file = get_file(config)
    if isinstance(file, Path):
        return file
    wanted = f"{repository} --revision {revision}" if revision else repository
    raise WeightsError(
        f"{name}: its config.json, which says what network it is, is not on this machine and cannot be downloaded "
        f"({file}). `hf download {wanted}` where there is a network fills the hub's cache, which can be copied here; "
        f"or name a copy of the repository's folder as {FOLDER}PATH."
    )


def _repository(name: str) -> tuple[str, str | None]:
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UnknownBackboneError(
            f"model.backbone: {name}: {repository!r} is no repository of the hub. Expected "
            f"{HUB}ORGANISATION/REPOSITORY with @REVISION after it if need be, or {FOLDER}PATH for a folder."
        )
    return repository, revision or None


def _whose(value: Any) -> str:
    """In brackets, whose config it looks like."""
    if isinstance(value, dict) and isinstance(value.get("architectures"), list):
        return f" (it is for transformers' {', '.join(map(str, value['architectures']))})"
    return " (it is one of open_clip's)" if isinstance(value, dict) and "model_cfg" in value else ""
