"""`training.adapter`: which few parameters train where blocks are unfrozen, instead of all of them."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from featcache.options.option_types import Count, Section


class Adapter(Section):
    """What of an unfrozen block trains; the rest of it stays as it was."""

    kind: Literal["lora", "bitfit", "norm"]
    """lora: products of two thin matrices added to the weights of linear layers (Hu et al. 2022; takes `peft`), merged
    into them in what is kept; bitfit: biases (Ben Zaken et al. 2022); norm: weights and biases of normalisations."""
    rank: Count = 8
    """Of lora: the width of the thin matrices."""
    alpha: Count | None = None
    """Of lora: its products count alpha / rank; null: twice the rank."""

    @model_validator(mode="after")
    def _of_lora(self) -> Adapter:
        if self.kind != "lora" and (self.rank != Adapter.model_fields["rank"].default or self.alpha is not None):
            raise ValueError(f"training.adapter: rank and alpha are of kind lora, and this one is {self.kind}")
        return self

    @property
    def lora_alpha(self) -> int:
        """Alpha, by default twice the rank."""
        return 2 * self.rank if self.alpha is None else self.alpha
