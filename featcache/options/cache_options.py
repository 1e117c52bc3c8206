"""The section `cache`: where and how features are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from featcache.options.cache_folder import cache_folder, is_url
from featcache.options.option_types import Count, NonNegative, Positive, Section

USUAL_BATCH = 32
USUAL_SHARD = 100_000


class CacheOptions(Section):
    """The store of features."""

    dir: Annotated[str, Field(min_length=1)] = "cache"
    """A folder, or a URL of an object store (s3://bucket/cache): there every store is in parts."""
    shard_rows: Count | None = None
    """Rows in a part of a new store that is in parts, for several machines; null: one file (at a URL: 100000). A store
    that is there stays as it is; `featcache cache split` and `cache merge` convert it."""
    max_copies_gb: NonNegative = 64.0
    """Disk of this machine that copies of parts may take, where cache.dir is a URL."""
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
    def folder(self) -> Path:
        """The cache's folder on this machine; where `dir` is a URL, that of what belongs to this machine alone."""
        return cache_folder(self.dir)

    @property
    def rows_a_part(self) -> int | None:
        """`shard_rows`, or what a URL needs; None: one file."""
        return USUAL_SHARD if self.shard_rows is None and is_url(self.dir) else self.shard_rows

    @property
    def images_a_pass(self) -> int:
        """`batch_size`, where nothing has been tried yet."""
        return USUAL_BATCH if self.batch_size == "auto" else self.batch_size

    @field_validator("dir")
    @classmethod
    def _place_for_a_cache(cls, value: str) -> str:
        cache_folder(value)
        return value

    @model_validator(mode="after")
    def _compiled_once(self) -> CacheOptions:
        if self.compile and self.batch_size == "auto":
            raise ValueError(
                'cache.compile: every batch that "auto" tries would be compiled. Set cache.batch_size to a number.'
            )
        return self
