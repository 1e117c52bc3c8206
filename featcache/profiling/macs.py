"""Multiply-accumulates of a network on one image, counted on a trace of it."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

# What counts as multiply-accumulates; everything else that fvcore knows is reported apart.
MAC_OPERATORS = frozenset({"conv", "linear", "matmul", "addmm", "bmm", "baddbmm", "einsum", "attention"})


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one image, by fvcore with handlers for what it does not know."""

    macs: int
    by_operator: dict[str, int]
    other_flops: dict[str, int]  # normalisation and pooling, in fvcore's own measure
    unmapped: dict[str, int]  # operator -> times met


def count_macs(model: nn.Module, input_size: int) -> MacCount:
    """Multiply-accumulates of `model` on one image of `input_size` pixels, counted on a trace of it.

    One MAC is one multiply and one add; FLOPs are twice that. Convolutions, linear layers and matrix products
    count, attention's included; normalisation and pooling are reported apart.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about what fvcore is built on
        from fvcore.nn import FlopCountAnalysis

    device = next(model.parameters()).device
    image = torch.zeros(1, 3, input_size, input_size, device=device)
    # The fast path of nn.MultiheadAttention runs a whole layer as one operator that no counter sees into.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    level = logging.getLogger("fvcore").level
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # unmapped operators are returned, not logged
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing: shapes are fixed here
            analysis = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
            analysis.set_op_handle("aten::baddbmm", _baddbmm_macs)
            counts = {str(k): int(v) for k, v in analysis.by_operator().items()}
            unmapped = {str(k): int(v) for k, v in analysis.unsupported_ops().items()}
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        logging.getLogger("fvcore").setLevel(level)
    counts = {k.removeprefix("aten::"): v for k, v in counts.items() if v}
    counted = {("attention" if "attention" in k else k): v for k, v in counts.items()}
    by_operator = {k: v for k, v in counted.items() if k in MAC_OPERATORS}
    other = {k: v for k, v in counted.items() if k not in MAC_OPERATORS}
    return MacCount(sum(by_operator.values()), by_operator, other, unmapped)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> Any:
    """softmax(Q K^T) V: two matrix products; Q `[.., L, E]`, K `[.., S, E]`, V `[.., S, Ev]`."""
    from collections import Counter

    from fvcore.nn.jit_handles import get_shape

    q, k, v = (get_shape(i) for i in inputs[:3])
    del outputs
    return Counter({"attention": int(np.prod(q[:-1])) * k[-2] * (q[-1] + v[-1])})


def _baddbmm_macs(inputs: list[Any], outputs: list[Any]) -> Any:
    """Batched `[b, n, m] @ [b, m, p]` with an addend."""
    from collections import Counter

    from fvcore.nn.jit_handles import get_shape

    del outputs
    (b, n, m), (_, _, p) = get_shape(inputs[1]), get_shape(inputs[2])
    return Counter({"baddbmm": b * n * m * p})
