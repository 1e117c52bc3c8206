"""K heads as one: weights `[K, out, in]`, initialised by seed, with forward and backward pass written out.

The gradients are those of autograd for `Linear - ReLU - Dropout - .. - Linear` with cross-entropy; written out, they
go straight into buffers that the optimiser reads, and no graph is built for each step. Hidden values lie as
`[K, units, B]`: the matrix products of a step are a quarter faster that way round on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featcache.backbones import build_head


def initial_state(dims: Sequence[int], seed: int) -> dict[str, Tensor]:
    """The state dict of a freshly seeded head: PyTorch's own initialisation, drawn after `manual_seed(seed)`.

    Only the CPU's generator is seeded, and left as it was: `torch.manual_seed` would reseed every GPU's too.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_head(dims, 0.0).state_dict()


@dataclass(frozen=True)
class _Layer:
    weight: Tensor  # [K, out, in]
    bias: Tensor  # [K, out, 1]
    weight_grad: Tensor
    bias_grad: Tensor


class HeadStack:
    """The weights and gradients of K heads with the same widths."""

    def __init__(self, dims: Sequence[int], seeds: Sequence[int], device: torch.device) -> None:
        self.dims = tuple(dims)
        # Stacked on the device: each seed's weights go there once, however many heads begin with them.
        known = {s: {n: v.to(device) for n, v in initial_state(dims, s).items()} for s in dict.fromkeys(seeds)}
        self.names = list(known[seeds[0]])  # weight, bias, weight, bias, ..
        self.values = [torch.stack([known[s][n] for s in seeds]) for n in self.names]
        self.grads = [torch.zeros_like(v) for v in self.values]
        self._arrange()

    @property
    def heads(self) -> int:
        """K."""
        return len(self.values[0])

    def select(self, heads: Tensor) -> None:
        """Keep these heads only."""
        self.values = [v[heads] for v in self.values]
        self.grads = [g[heads] for g in self.grads]
        self._arrange()

    def logits(self, x: Tensor) -> Tensor:
        """Evaluation: features `[N, F]` (the same for all heads) or `[K, N, F]` to logits `[K, N, C]`."""
        h = (x.expand(self.heads, *x.shape) if x.ndim == 2 else x).mT
        for layer in self._layers[:-1]:
            h = torch.baddbmm(layer.bias, layer.weight, h).relu_()
        return torch.baddbmm(self._layers[-1].bias, self._layers[-1].weight, h).mT

    def step(
        self,
        x: Tensor,
        pull: Tensor,
        share: Tensor,
        keep: Sequence[Tensor] = (),
        scale: Tensor | None = None,
        softened: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Training: fill the gradients for features `[K, B, F]`.

        `share` `[K, 1, B]` is what each image counts in its batch's mean, and `pull` `[K, C, B]` minus that share of
        the distribution that its logits are drawn to. With dropout, `keep[l]` `[K, H, B]`
        multiplies hidden layer l: 0 where dropped, `scale` `[K, 1, 1]` where not. With a teacher, `softened` is what an
        image counts there `[K, 1, B]`, and the temperature `[K, 1, 1]`. Returns the logits `[K, C, B]`.
        """
        *hidden, last = self._layers
        inputs = [x.mT]
        for number, layer in enumerate(hidden):
            h = torch.baddbmm(layer.bias, layer.weight, inputs[-1]).relu_()
            inputs.append(h.mul_(keep[number]) if scale is not None else h)
        logits = torch.baddbmm(last.bias, last.weight, inputs[-1])
        # Over the last dimension: over the middle one, rounding depends on how the columns are shared between threads.
        delta = torch.addcmul(pull, torch.softmax(logits.mT, dim=2).mT, share)
        if softened is not None:
            counts, temperature = softened
            delta = torch.addcmul(delta, torch.softmax((logits / temperature).mT, dim=2).mT, counts)
        for number in range(len(hidden), -1, -1):
            layer, own = self._layers[number], delta
            torch.sum(own, dim=2, keepdim=True, out=layer.bias_grad)
            if number:
                delta = torch.bmm(layer.weight.mT, own if scale is None else own * scale)
                # Where a hidden value is positive it was neither cut by ReLU nor dropped.
                torch.ops.aten.threshold_backward.grad_input(delta, inputs[number], 0, grad_input=delta)
            torch.bmm(own, inputs[number].mT, out=layer.weight_grad)
        return logits

    def _arrange(self) -> None:
        """The layers as the products want them: a bias is a column."""
        pairs = zip(self.values, self.grads, strict=True)
        columns = [(v, g) if v.ndim == 3 else (v[..., None], g[..., None]) for v, g in pairs]
        self._layers = [
            _Layer(weight, bias, weight_grad, bias_grad)
            for (weight, weight_grad), (bias, bias_grad) in zip(columns[0::2], columns[1::2], strict=True)
        ]
