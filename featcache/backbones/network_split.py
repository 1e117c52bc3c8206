"""A network in, its frozen front and the rest that trains out, cut before the first block that trains.

The cut is made in the graph that `torch.fx` traces with whole blocks as its leaves: whatever depends on nothing that
trains goes to the front, everything else to the rest, and the values between them are the cut.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from featcache.backbones.backbone import Backbone, run_network
from featcache.backbones.network_blocks import Block
from featcache.devices import HALF_PRECISIONS

log = logging.getLogger("featcache")

BATCHES = (2, 3, 5)  # images that tell what follows their number from what does not
MAX_RELATIVE_ERROR = 1e-4  # of a row's norm; both ways compute the same in the same order


@dataclass(frozen=True)
class _Value:
    """One value at the cut, for a batch of N images: a tensor `[N, ..]`, the number N itself, or a constant."""

    shape: tuple[int, ...] | None = None  # of a tensor, without N
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format = torch.contiguous_format  # dropout draws in the order of memory
    constant: Any = None  # None for the number N

    @property
    def floats(self) -> int:
        size = 0 if self.shape is None else 1
        for side in self.shape or ():
            size *= side
        return size


class Front(nn.Module):
    """Images `[N, 3, S, S]` to what the blocks that train are given, side by side: `[N, F']`."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, images: Tensor) -> Tensor:
        """The tensors at the cut, flattened."""
        return torch.cat([v.flatten(1) for v in self.graph(images) if isinstance(v, Tensor)], dim=1)


class Rest(nn.Module):
    """What `Front` gives, `[N, F']`, to pooled features `[N, F]`: the blocks that train."""

    def __init__(self, graph: fx.GraphModule, values: Sequence[_Value]) -> None:
        super().__init__()
        self.graph = graph
        self.values = tuple(values)

    def forward(self, rows: Tensor) -> Tensor:
        """Pooled features."""
        values: list[Any] = []
        for value, columns in zip(self.values, rows.split([v.floats for v in self.values], dim=1), strict=True):
            if value.shape is None:
                values.append(len(rows) if value.constant is None else value.constant)
            else:
                # A view would let an operation in place write into the caller's rows.
                tensor = columns.to(value.dtype, copy=True).unflatten(1, value.shape)
                values.append(tensor.contiguous(memory_format=value.layout))
        features: Tensor = self.graph(*values)
        return features


@dataclass(frozen=True)
class Split:
    """A network in two; both share its modules, so what trains in the rest trains in the network."""

    front: Front
    rest: Rest

    @property
    def width(self) -> int:
        """F', the floats of one image at the cut."""
        return sum(v.floats for v in self.rest.values)


def split(
    backbone: Backbone,
    every: Sequence[Block],
    first: int,
    layout: torch.memory_format = torch.contiguous_format,
) -> Split | None:
    """The network cut before block `every[first]`, left in evaluation mode; None where it cannot be cut there.

    `every` are the blocks of `backbone`, and `layout` that of the images it will be given. A cut is only given where
    both parts, one after the other, were seen to give the network's own features.
    """
    network, identity = backbone.network, backbone.info.identity
    device = next(network.parameters()).device
    side = identity.preprocessing.input_size
    images = torch.randn(BATCHES[-1], 3, side, side, generator=torch.Generator().manual_seed(0))
    images = images.to(device, memory_format=layout)
    try:
        with torch.no_grad():
            whole = _OneInput(network)
            _, training = _cut(whole.train(), every, first)
            front, rest = _cut(whole.eval(), every, first)
            if str(training) != str(rest):
                raise ValueError("between blocks it does otherwise in training")
            graph = fx.GraphModule(whole, front)
            half = identity.precision in HALF_PRECISIONS
            with torch.autocast(device.type, getattr(torch, identity.precision)) if half else nullcontext():
                values = _values([graph(images[:count]) for count in BATCHES])
            found = Split(Front(graph), Rest(fx.GraphModule(whole, rest), values))
            rows = run_network(found.front, images, identity.precision)
            again = run_network(found.rest, rows, identity.precision)
            expected = run_network(network, images, identity.precision)
        change = (again - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-30)
        if not bool((change <= MAX_RELATIVE_ERROR).all()):
            raise ValueError(f"features differ by {float(change.max()):.1e}")
    except Exception as error:  # the tracer meets whatever networks do in their forward pass
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.info("%s: cannot be cut before %s: %s", identity.backbone, every[first].name, reason)
        return None
    finally:
        network.eval()
    return found


class _OneInput(nn.Module):
    """A network under the names that its backbone gives it; what else its forward pass could be told has defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features


class _Tracer(fx.Tracer):
    """Whole blocks, or what of one stands together, are leaves: what happens in them does not matter."""

    def __init__(self, leaves: frozenset[str]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._leaves or super().is_leaf_module(m, module_qualified_name)


def _cut(network: nn.Module, every: Sequence[Block], first: int) -> tuple[fx.Graph, fx.Graph]:
    """Graphs of the two parts; the front's output is a tuple of the values at the cut."""
    place = {name: b for b, block in enumerate(every) for name in (*block.modules, *block.parameters)}
    graph = _Tracer(frozenset(place)).trace(network)
    (image,) = (n for n in graph.nodes if n.op == "placeholder")
    trains: set[fx.Node] = set()
    of_image: set[fx.Node] = {image}
    for node in graph.nodes:
        inputs = node.all_input_nodes
        own = node.op in {"call_module", "get_attr"} and place.get(str(node.target), -1) >= first
        if own or any(i in trains for i in inputs):
            trains.add(node)
        if any(i in of_image for i in inputs):
            of_image.add(node)
    output = next(n for n in graph.nodes if n.op == "output")
    at_cut = [n for n in graph.nodes if n in of_image and n not in trains and any(u in trains for u in n.users)]
    front, copies = _copy(graph, _needed(at_cut, ()), ())
    front.output(tuple(copies[n] for n in at_cut))
    # What depends on no image is computed again: it is small.
    rest, _ = _copy(graph, _needed([output], at_cut), at_cut)
    return front, rest


def _needed(wanted: Iterable[fx.Node], known: Collection[fx.Node]) -> set[fx.Node]:
    """The nodes that `wanted` ones are computed from, themselves included, down to those that are known."""
    found: set[fx.Node] = set()
    waiting = list(wanted)
    while waiting:
        node = waiting.pop()
        if node not in found and node not in known:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _copy(graph: fx.Graph, chosen: set[fx.Node], inputs: Sequence[fx.Node]) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """Some of a graph's nodes, with `inputs` for placeholders; and the copy of each."""
    copied = fx.Graph()
    known = {node: copied.placeholder(node.name) for node in inputs}
    for node in graph.nodes:
        if node in chosen:
            known[node] = copied.node_copy(node, known.__getitem__)
    return copied, known


def _values(found: Sequence[Sequence[Any]]) -> list[_Value]:
    """What lies at the cut, by its values for BATCHES of images."""
    values = []
    for every in zip(*found, strict=True):
        one = every[0]
        if all(isinstance(v, Tensor) for v in every):
            shapes = [tuple(v.shape) for v in every]
            if not one.ndim or shapes != [(count, *shapes[0][1:]) for count in BATCHES] or not one.is_floating_point():
                raise ValueError(f"a {one.dtype} tensor {list(shapes[0])} lies at the cut")
            values.append(_Value(shapes[0][1:], one.dtype, _layout(every[-1])))
        elif isinstance(one, int) and every == BATCHES:
            values.append(_Value())
        elif isinstance(one, int | float) and set(every) == {one}:  # the side of a feature map
            values.append(_Value(constant=one))
        else:
            raise ValueError("a value at the cut is not one for each image")
    return values


def _layout(tensor: Tensor) -> torch.memory_format:
    last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format
