"""Estimates for a card that is not at hand: the roofline of each network's operations, and how near another card came.

An operation takes no less than its arithmetic at the card's peak, nor than its tensors at the card's bandwidth: the
larger of the two, summed over a network's operations, is the roofline (Williams, Waterman and Patterson 2009). A real
card comes to a share of it, measured where one was at hand. What comes out is an estimate, never a measurement. Nothing
is computed: networks have shapes and no values here, so any machine gives the same table. Batch norms count, which
extraction folds away, on both cards.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from featcache.backbones import find_source
from featcache.backbones.classifier_removal import remove_classifier


@dataclass(frozen=True)
class Card:
    """Peaks as the maker states them: FLOP/s by precision (dense, without TensorFloat-32), bytes/s."""

    name: str
    flops: dict[str, float]
    bandwidth: float


L4 = Card("L4", {"float32": 30.3e12, "bfloat16": 121e12}, 300e9)
H100 = Card("H100 80GB HBM3", {"float32": 67e12, "bfloat16": 989e12}, 3350e9)
# Images a second, docs/gpu/nvidia-h100-80gb-hbm3.md: `bin/bench forward`, batches of 128.
MEASURED = {
    ("resnet50", "float32"): 3268,
    ("resnet50", "bfloat16"): 10572,
    ("swin_t", "float32"): 2558,
    ("swin_t", "bfloat16"): 4952,
}
BATCH = 128
VIEWS = frozenset(
    {
        "view",
        "_unsafe_view",
        "reshape",
        "expand",
        "permute",
        "transpose",
        "t",
        "unsqueeze",
        "squeeze",
        "select",
        "slice",
    }
)
NAMES = sorted(file.stem for file in Path("configs/phase1").glob("*.json"))


class Roofline(TorchDispatchMode):
    """Seconds that a card takes at least for the operations that run meanwhile."""

    def __init__(self, card: Card, precision: str) -> None:
        super().__init__()
        self.card, self.precision = card, precision
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._schema.name.removeprefix("aten::") not in VIEWS:
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=out) if count is not None else 0
            numbers = sum(t.numel() for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor))
            width = 4 if self.precision == "float32" else 2
            self.seconds += max(flops / self.card.flops[self.precision], numbers * width / self.card.bandwidth)
        return out


def roofline(name: str, card: Card, precision: str) -> float:
    """Images a second at most, in batches of `BATCH`."""
    network, preprocessing = find_source(name).build(name, None, None, None)
    trunk, _ = remove_classifier(network.eval().to("meta"))
    side = preprocessing.input_size
    with torch.no_grad(), Roofline(card, precision) as meter:
        trunk.eval()(torch.empty(BATCH, 3, side, side, device="meta"))
    return BATCH / meter.seconds


def main() -> None:
    """The table of docs/gpu/l4.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=NAMES, metavar="BACKBONE")
    arguments = parser.parse_args()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that no counter sees into
    shares = {key: rate / roofline(key[0], H100, key[1]) for key, rate in MEASURED.items()}
    print(f"Share of its roofline that an {H100.name} came to, batches of {BATCH}:")
    for (name, precision), share in shares.items():
        print(f"- {name}, {precision}: {share:.2f} ({MEASURED[name, precision]:,} images/s measured)")
    print("\n| backbone | float32: roofline | estimate | bfloat16: roofline | estimate |\n|---|--:|--:|--:|--:|")
    for name in arguments.backbones:
        cells = [cell for precision in L4.flops for cell in estimate(roofline(name, L4, precision), precision, shares)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def estimate(most: float, precision: str, shares: dict[tuple[str, str], float]) -> Sequence[str]:
    """The roofline, and from the lowest to the highest of the shares of it that were measured in this precision."""
    found = [share for (_, own), share in shares.items() if own == precision]
    return _round(most), f"{_round(min(found) * most)} to {_round(max(found) * most)}"


def _round(value: float) -> str:
    """Two digits: an estimate has no more."""
    step = 10 ** (math.floor(math.log10(value)) - 1)
    return f"{round(value / step) * step:,.0f}"


if __name__ == "__main__":
    main()
