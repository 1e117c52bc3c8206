"""What an audit of a data set found, as frozen records that go to JSON and come back the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from featcache.records import BadImage, ImageRecord, Manifest, Split

FORMAT_VERSION = 1  # of the JSON; raise it when a key changes its meaning


@dataclass(frozen=True)
class AuditedData:
    """The data set that was looked at."""

    name: str
    path: str
    fingerprint: str
    classes: tuple[str, ...]
    images: dict[Split, int]  # that can be read


@dataclass(frozen=True)
class AuditedBackbone:
    """A backbone whose features were looked at; `weights` and `store` are "" where they are not known."""

    backbone: str
    weights: str = ""
    store: str = ""


@dataclass(frozen=True)
class AuditedImage:
    """A file of the data set; the label is the class's name."""

    name: str
    split: Split
    label: str
    sha256: str

    @classmethod
    def of(cls, image: ImageRecord, manifest: Manifest) -> AuditedImage:
        """The file `image` of `manifest`."""
        return cls(image.name, image.split, manifest.classes[image.label], image.sha256)


@dataclass(frozen=True)
class ExactGroup:
    """Two or more files with the same bytes."""

    sha256: str
    images: tuple[AuditedImage, ...]
    across_splits: bool
    conflicting_labels: bool


@dataclass(frozen=True)
class NearGroup:
    """Files of two or more contents that show the same picture; some of them may be exact copies beside."""

    images: tuple[AuditedImage, ...]
    cosine: dict[str, float]  # backbone -> the smallest between two contents of the group
    across_splits: bool
    conflicting_labels: bool


@dataclass(frozen=True)
class Suspect:
    """A file whose label the others speak against; probabilities are out of fold, averaged over backbones."""

    name: str
    split: Split
    sha256: str
    label: str
    suggested: str
    p_label: float
    p_suggested: float
    flagged: bool


@dataclass(frozen=True)
class Outlier:
    """A file far from all others; `score` is a robust z, averaged over backbones."""

    name: str
    split: Split
    sha256: str
    label: str
    score: float
    flagged: bool


@dataclass(frozen=True)
class ClassCount:
    """How many images of a class are in each split."""

    name: str
    train: int
    val: int
    test: int

    def as_dict(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {"class": self.name, "train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class Leaked:
    """Names of evaluation files with an exact or near copy where it gives them away."""

    val: tuple[str, ...]  # a copy is in train
    test: tuple[str, ...]  # a copy is in train or val


@dataclass(frozen=True)
class Further:
    """What a finding without keys of its own found: lines for people, none where it looked and found nothing."""

    name: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """All that an audit found, most suspect first."""

    created: str  # ISO 8601, UTC
    featcache: str  # the version that looked
    data: AuditedData
    backbones: tuple[AuditedBackbone, ...]
    exact: tuple[ExactGroup, ...]
    near: tuple[NearGroup, ...]
    leaked: Leaked
    suspects: tuple[Suspect, ...]
    outliers: tuple[Outlier, ...]
    balance: tuple[ClassCount, ...]
    quarantined: tuple[BadImage, ...]
    warnings: tuple[str, ...]  # sentences for people, the most serious first
    further: tuple[Further, ...] = ()  # of findings.py that have no key of their own
    groups: dict[str, str] = field(default_factory=dict)  # image -> group, by the data.groups that it was made with
    folds: bool = False  # whether heads are judged in folds of train and val (data.folds), and not on val alone

    @property
    def contents(self) -> dict[str, str]:
        """The content hash of each file that it names."""
        groups = [*(group.images for group in self.exact), *(group.images for group in self.near)]
        copies = {image.name: image.sha256 for images in groups for image in images}
        odd = {one.name: one.sha256 for one in self.outliers}
        return copies | odd | {one.name: one.sha256 for one in self.suspects}

    @property
    def suspected(self) -> frozenset[str]:
        """Names and content hashes of the files whose labels are flagged: other sources call the same images
        otherwise."""
        flagged = [one for one in self.suspects if one.flagged]
        return frozenset(one.name for one in flagged) | {one.sha256 for one in flagged}

    def lines(self, name: str) -> tuple[str, ...]:
        """What the finding `name` of `further` found."""
        return next((one.lines for one in self.further if one.name == name), ())

    def as_dict(self) -> dict[str, Any]:
        """The audit as JSON values: all that a report needs."""
        value = asdict(self)
        value["balance"] = [count.as_dict() for count in self.balance]
        for key in ("further", "groups", "folds"):
            if not value[key]:
                del value[key]  # as it was before there were any
        plain: dict[str, Any] = json.loads(json.dumps({"format_version": FORMAT_VERSION, **value}, allow_nan=False))
        return plain

    def with_warnings(self, warnings: tuple[str, ...]) -> Audit:
        """This audit with these sentences."""
        return replace(self, warnings=warnings)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Audit:
        """The audit that `as_dict` gave; raises KeyError, TypeError or ValueError for anything else."""
        if value["format_version"] != FORMAT_VERSION:
            raise ValueError(f"has the format {value['format_version']}, expected {FORMAT_VERSION}")
        return cls(
            created=value["created"],
            featcache=value["featcache"],
            data=AuditedData(**{**value["data"], "classes": tuple(value["data"]["classes"])}),
            backbones=tuple(AuditedBackbone(**b) for b in value["backbones"]),
            exact=tuple(ExactGroup(**{**g, "images": _images(g)}) for g in value["exact"]),
            near=tuple(NearGroup(**{**g, "images": _images(g)}) for g in value["near"]),
            leaked=Leaked(tuple(value["leaked"]["val"]), tuple(value["leaked"]["test"])),
            suspects=tuple(Suspect(**s) for s in value["suspects"]),
            outliers=tuple(Outlier(**o) for o in value["outliers"]),
            balance=tuple(ClassCount(c["class"], c["train"], c["val"], c["test"]) for c in value["balance"]),
            quarantined=tuple(BadImage(**b) for b in value["quarantined"]),
            warnings=tuple(value["warnings"]),
            further=tuple(Further(o["name"], o["title"], tuple(o["lines"])) for o in value.get("further", ())),
            groups=dict(value.get("groups", {})),
            folds=bool(value.get("folds", False)),
        )


def _images(group: Mapping[str, Any]) -> tuple[AuditedImage, ...]:
    return tuple(AuditedImage(**image) for image in group["images"])
