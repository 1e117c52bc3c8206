"""Stage one of one options file: the features of its backbone, or of several side by side ("resnet50+swin_t").

Each part keeps its own weights, input size and store, so rows that are there for one backbone alone serve here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from featcache.backbones import describe_backbone, resolve_dims
from featcache.data import load_manifest
from featcache.extraction.one_backbone import Extraction, extract_backbone
from featcache.extraction.summed_profile import summed
from featcache.options import Options
from featcache.records import BackboneInfo, BadImage, Manifest, Profile
from featcache.session import Session

JOIN = " + "  # between what the parts are called


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """What stage one has at hand for one options file: the extraction of its backbone, or of each of several."""

    parts: tuple[Extraction, ...]
    dims: tuple[int, ...]  # the head's widths, from all features to the classes

    @property
    def infos(self) -> tuple[BackboneInfo, ...]:
        """What is known of each backbone."""
        return tuple(p.info for p in self.parts)

    @property
    def manifest(self) -> Manifest:
        """The images; those of every part are the same."""
        return self.parts[0].manifest

    @property
    def bad(self) -> tuple[BadImage, ...]:
        """What could not be read."""
        return self.parts[0].bad

    @property
    def features(self) -> int:
        """F, of all parts together."""
        return sum(i.features for i in self.infos)

    @property
    def weights(self) -> str:
        """What the leaderboard shows."""
        return JOIN.join(dict.fromkeys(i.origin.label for i in self.infos))

    @property
    def source(self) -> str:
        """The libraries the backbones come from."""
        return JOIN.join(dict.fromkeys(i.identity.source for i in self.infos))

    @property
    def fell_back(self) -> bool:
        """Whether random weights stand in for pretrained ones in any part."""
        return any(i.origin.fell_back for i in self.infos)

    @property
    def stores(self) -> list[str]:
        """The names of the stores' files."""
        return [p.store.path.name for p in self.parts]

    @cached_property
    def profile(self) -> Profile:
        """What the full model costs; of several parts the sum, as if they ran one after the other."""
        return summed([p.profile for p in self.parts], self.dims)

    def identities(self) -> list[dict[str, Any]]:
        """The identity of each part as JSON values."""
        return [i.identity.as_dict() for i in self.infos]


def extract_all(options: Options, session: Session) -> CachedFeatures:
    """The features of each backbone that `options` name, extracted where they are missing, side by side.

    Raises what `extract` does, and OptionsError when `classifier_dims` disagrees with the features of all together;
    whatever is wrong with any of several backbones is found before the first of them does any work.
    """
    if len(options.parts) > 1:
        manifest, _ = load_manifest(options.data, options.cache.folder)
        infos = [describe_backbone(part, allow_custom=session.allow_custom)[0] for part in options.parts]
        _dims(options, [i.features for i in infos], manifest)
    parts = tuple(extract_backbone(part, session) for part in options.parts)
    return CachedFeatures(parts, _dims(options, [p.info.features for p in parts], parts[0].manifest))


def _dims(options: Options, features: Sequence[int], manifest: Manifest) -> tuple[int, ...]:
    model = options.model
    return resolve_dims(model.classifier_dims, model.backbone, sum(features), len(manifest.classes))
