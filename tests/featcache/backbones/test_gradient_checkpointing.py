"""Gradients, statistics and random draws are those of a pass that keeps everything; and much less is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from featcache.backbones import checkpointed_modules, gradients_checkpointed, load_backbone
from featcache.errors import WorkError
from featcache.options import load_options
from featcache.options.model_options import ModelOptions

PHASE1 = sorted(Path("configs/phase1").glob("*.json"))
BLOCKLESS = {"vgg16"}  # one layer after the other


class Residual(nn.Module):
    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.body(x)
        return found


def stages(dropout: float = 0.0) -> nn.Sequential:
    made = [nn.Sequential(Residual(8, dropout), Residual(8, dropout)) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *made, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def trained(network: nn.Module, images: Tensor, names: list[str]) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Gradients, state after the pass, and the bytes that were kept for the way back, weights aside."""
    state = {n: t.clone() for n, t in network.state_dict().items()}
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    every = dict(network.named_modules())
    torch.manual_seed(1)
    with saved_tensors_hooks(keep, lambda t: t), gradients_checkpointed([every[n] for n in names]):
        found = network(images)
    network.zero_grad()
    (found * torch.linspace(0, 1, found.numel()).view_as(found)).sum().backward()
    after = {n: t.clone() for n, t in network.state_dict().items()}
    network.load_state_dict(state)
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    return gradients, after, sum(held.values())


def check(network: nn.Module, images: Tensor, share: float) -> None:
    network.train()
    names = checkpointed_modules(network)
    plain, again = trained(network, images, []), trained(network, images, names)
    assert plain[0].keys() == again[0].keys()
    assert all(torch.equal(again[0][n], g) for n, g in plain[0].items())
    assert all(torch.equal(again[1][n], t) for n, t in plain[1].items())
    assert again[2] < share * plain[2]
    assert all("forward" not in m.__dict__ for m in network.modules())


def test_blocks_side_by_side_are_what_is_computed_again() -> None:
    assert checkpointed_modules(stages()) == ["1.0", "1.1", "2.0", "2.1"]
    assert checkpointed_modules(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))) == []


def test_batch_norms_and_dropout_are_as_if_everything_was_kept() -> None:
    check(stages(dropout=0.3), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), 0.5)


def test_what_is_frozen_is_left_alone() -> None:
    network = stages().train()
    network[1].requires_grad_(False)
    images = torch.randn(2, 3, 16, 16)
    plain, again = trained(network, images, []), trained(network, images, checkpointed_modules(network))
    assert all(torch.equal(again[0][n], g) for n, g in plain[0].items())


def test_a_network_that_writes_into_its_blocks_inputs_is_named() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Residual(3), Residual(3)])

        def forward(self, x: Tensor) -> Tensor:
            x = x + 0
            first = self.blocks[0](x)
            x.mul_(2)
            found: Tensor = self.blocks[1](first)
            return found

    network = Careless().train()
    with pytest.raises(WorkError, match="changes the input of Residual in place"):
        trained(network, torch.randn(2, 3, 8, 8), checkpointed_modules(network))


@pytest.mark.slow
@pytest.mark.parametrize("config", PHASE1, ids=lambda file: file.stem)
def test_every_network_of_phase_1_trains_the_same_with_less(config: Path) -> None:
    name = load_options(config).model.backbone
    options = ModelOptions(backbone=name, pretrained=False)
    network = load_backbone(options).network.requires_grad_(True)
    side = load_backbone(options).preprocessing.input_size
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    if name in BLOCKLESS:
        assert checkpointed_modules(network) == []
    else:
        check(network, images, 0.6)  # resnet18, 0.56; the others less than half
