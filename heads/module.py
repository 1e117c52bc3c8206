"""K heads as one: the weights of each layer stacked `[K, out, in]`, with a forward and backward pass written out.

The gradients are those of autograd for `Linear - ReLU - Dropout - .. - Linear` with cross-entropy; written out, they
go straight into buffers that the optimiser's views share, and no graph is built for each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from featcache.backbones import build_head


def initial_state(dims: Sequence[int], seed: int) -> dict[str, Tensor]:
    """The state dict of a freshly seeded head: PyTorch's own initialisation, drawn after `manual_seed(seed)`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_head(dims, 0.0).state_dict()


class HeadStack:
    """The weights and gradients of K heads with the same widths."""

    def __init__(self, dims: Sequence[int], seeds: Sequence[int], device: torch.device) -> None:
        self.dims = tuple(dims)
        states = [initial_state(dims, seed) for seed in seeds]
        self.names = list(states[0])  # weight, bias, weight, bias, ..
        stacked = [torch.stack([s[n] for s in states]).to(device) for n in self.names]
        self.weights, self.biases = stacked[0::2], stacked[1::2]
        self.weight_grads = [torch.zeros_like(w) for w in self.weights]
        self.bias_grads = [torch.zeros_like(b) for b in self.biases]

    def parameters(self, head: int) -> list[Tensor]:
        """The tensors of one head: views of the stack, their gradients too, as `torch.optim` takes them."""
        parameters = []
        for value, grad in zip(self._interleaved(False), self._interleaved(True), strict=True):
            parameter = value[head]
            parameter.grad = grad[head]
            parameters.append(parameter)
        return parameters

    def state_dict(self, head: int) -> dict[str, Tensor]:
        """A copy of one head's weights, under the names that `build_head` gives."""
        return {n: v[head].clone() for n, v in zip(self.names, self._interleaved(False), strict=True)}

    def logits(self, x: Tensor) -> Tensor:
        """Evaluation: features `[N, F]` (the same for all heads) or `[K, N, F]` to logits `[K, N, C]`."""
        k = len(self.weights[0])
        h = x.expand(k, *x.shape) if x.ndim == 2 else x
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias[:, None], h, weight.mT)
            if layer < len(self.weights) - 1:
                h = h.relu_()
        return h

    def step(self, x: Tensor, y: Tensor, keep: Sequence[Tensor], smoothing: Tensor) -> tuple[Tensor, Tensor]:
        """Training: fill the gradients for features `[K, B, F]`, labels `[K, B]`.

        `keep[l]` `[K, B, H]` multiplies hidden layer l: 0 where dropped, 1 / (1 - p) where kept. `smoothing` `[K]` is
        label smoothing. Returns the loss `[K]` and how many were right `[K]`.
        """
        inputs = [x]
        for layer in range(len(self.weights) - 1):
            h = torch.baddbmm(self.biases[layer][:, None], inputs[-1], self.weights[layer].mT).relu_()
            inputs.append(h.mul_(keep[layer]))
        z = torch.baddbmm(self.biases[-1][:, None], inputs[-1], self.weights[-1].mT)
        batch, classes = z.shape[1:]
        log_p = log_softmax(z, dim=-1)
        target = torch.zeros_like(z).scatter_(-1, y[..., None], 1.0)
        target = target * (1 - smoothing)[:, None, None] + (smoothing / classes)[:, None, None]
        loss = -(target * log_p).sum(dim=(1, 2)) / batch
        right = (z.argmax(dim=-1) == y).sum(dim=1)
        delta = (log_p.exp() - target) / batch
        for layer in range(len(self.weights) - 1, -1, -1):
            torch.bmm(delta.mT, inputs[layer], out=self.weight_grads[layer])
            torch.sum(delta, dim=1, out=self.bias_grads[layer])
            if layer:
                # Where a hidden value is positive it was neither cut by ReLU nor dropped.
                delta = torch.bmm(delta, self.weights[layer]) * keep[layer - 1] * (inputs[layer] > 0)
        return loss, right

    def _interleaved(self, grads: bool) -> list[Tensor]:
        weights, biases = (self.weight_grads, self.bias_grads) if grads else (self.weights, self.biases)
        return [t for pair in zip(weights, biases, strict=True) for t in pair]
