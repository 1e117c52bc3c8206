"""The section `cache`: where and how features are stored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from featcache.options.option_types import Count, NonNegative, Positive, Section

USUAL_BATCH = 32


class CacheOptions(Section):
    """The store of features."""

    dir: Annotated[str, Field(min_length=1)] = "cache"
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Of the stored rows; auto: float16 where it loses nothing that matters, else float32."""
    batch_size: Count | Literal["auto"] = USUAL_BATCH
    """Images in one forward pass of extraction, at most: on a CPU fewer are faster, and fewer are taken. auto: the
    fastest on this device, found in seconds by trying and kept on record in the store."""
    compile: bool = False
    """Run the backbone through torch.compile, which takes a minute first and repays it on some networks only."""
    max_decoded_gb: NonNegative = 16.0
    """Disk that decoded images may take during a command with several backbones; what does not fit is decoded again."""
    max_features_gb: Positive = 8.0
    """Memory that features may take while heads train; more is read from the store in blocks, in every epoch."""
    max_trunk_gb: NonNegative = 32.0
    """End to end: what the frozen blocks give may take so much, in memory up to max_features_gb, else in the store;
    where it would take more, every epoch runs the whole network."""

    @property
    def images_a_pass(self) -> int:
        """`batch_size`, where nothing has been tried yet."""
        return USUAL_BATCH if self.batch_size == "auto" else self.batch_size

    @model_validator(mode="after")
    def _compiled_once(self) -> CacheOptions:
        if self.compile and self.batch_size == "auto":
            raise ValueError(
                'cache.compile: every batch that "auto" tries would be compiled. Set cache.batch_size to a number.'
            )
        return self
