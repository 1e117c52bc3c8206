"""Small networks and files of their weights, as people's training scripts leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from featcache.backbones.checkpoint_loading import load_file_into

State = dict[str, Tensor]
CLASSIFIER = {"fc.weight", "fc.bias"}


class SmallNet(nn.Module):
    """Two convolutions with batch norms; its classifier `fc` is off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer1(self.bn1(self.conv1(images)).relu()).mean(dim=(2, 3))


def small(seed: int) -> SmallNet:
    return filled(SmallNet(), seed)


def small_vit(seed: int, size: int = 32) -> nn.Module:
    """torchvision's, whose own names begin with `encoder.`; its classifier `heads` is off."""
    network = VisionTransformer(size, 8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16)
    network.heads = nn.Identity()
    return filled(network, seed)


def filled(network: Any, seed: int) -> Any:
    """Every number of its own, so that no tensor can stand in for another."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


def state_of(seed: int) -> State:
    """The small network's weights with a classifier's."""
    return {**small(seed).state_dict(), "fc.weight": torch.ones(5, 6), "fc.bias": torch.ones(5)}


def before(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(content: Any, path: Path, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


def loaded(location: Path | str, network: nn.Module | None = None) -> State:
    """What the small network, or another one, holds after it was given the file."""
    network = network if network is not None else small(99)
    load_file_into(network, CLASSIFIER, str(location))
    return network.state_dict()


def assert_same(found: State, expected: State) -> None:
    """All that `found` has, as in `expected`."""
    assert found
    for name, tensor in found.items():
        assert tensor.dtype in (torch.float32, torch.int64)
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


def sharded(folder: Path, state: dict[str, Any], ending: str) -> Path:
    """`state` in two shards with their index, as Hugging Face writes them."""
    folder.mkdir(exist_ok=True)
    stem = "model" if ending == ".safetensors" else "pytorch_model"
    names = list(state)
    halves = {f"{stem}-0000{i + 1}-of-00002{ending}": names[i::2] for i in range(2)}
    for file, inside in halves.items():
        some = {name: state[name] for name in inside}
        save_file(some, folder / file) if ending == ".safetensors" else torch.save(some, folder / file)
    index = folder / f"{stem}{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {n: f for f, some in halves.items() for n in some}}))
    return index
