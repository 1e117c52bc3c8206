"""The small frozen records that rooms hand each other; no torch, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from featcache.places import ImagePlace

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

FORMAT_VERSION = 2  # of the store and of every identity; raise it when old rows must not be read


def canonical_json(value: Any) -> str:
    """The one spelling of `value` that digests are taken of: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """The sha256 (hex) of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Depth:
    """Which values of more than 8 bits are white, where the file itself does not say (docs/images.md).

    A number of bits ("8" to "16"), or each image's own range ("minmax", "percentile").
    """

    integers: str | None = None  # None: 16 bits
    floats: str | None = None  # None: 1.0 is white


PLAIN_DEPTH = Depth()  # no image of the data set asks for another


@dataclass(frozen=True)
class ImageRecord:
    """One image of the data set: where its bytes are, what they hold, what it is called."""

    place: ImagePlace
    name: str  # relative to what data.path names, with "/" between parts: what tables and messages show
    sha256: str  # of its bytes: the address of its row in every store
    label: int
    split: Split
    group: str | None = None  # by data.groups: images of one group are never parted, and never speak for each other
    weight: float = 1.0  # what it counts in the loss of training beside the others; no part of any row or fingerprint


@dataclass(frozen=True)
class BadImage:
    """A file that could not be read as an image, and why."""

    name: str
    sha256: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """A scanned data set: every image with its label and split."""

    name: str
    root: Path  # what data.path names: a folder, a table, an archive, ..
    classes: tuple[str, ...]  # sorted; a label is an index into it
    images: tuple[ImageRecord, ...]  # by split, class and content, so in one order from whichever source they are
    notices: tuple[str, ...] = ()  # what the user should know of how the folder was read
    ignored: tuple[str, ...] = ()  # files that are not images by their name
    depth: Depth = PLAIN_DEPTH  # how values of more than 8 bits are shown, decided for all images together

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) of which content is in which split under which label, whatever its file is called."""
        rows = sorted((i.split, self.classes[i.label], i.sha256) for i in self.images)
        return digest([list(self.classes), rows])

    def of(self, split: Split) -> tuple[ImageRecord, ...]:
        """The images of one split, by class and content."""
        return tuple(i for i in self.images if i.split == split)

    def without(self, bad: set[str]) -> Manifest:
        """This manifest less the images whose content hash is in `bad`."""
        return replace(self, images=tuple(i for i in self.images if i.sha256 not in bad))


@dataclass(frozen=True)
class Preprocessing:
    """How an image file becomes the network's input `[3, input_size, input_size]`; part of the identity.

    Images go through Pillow (antialiased by construction), are resized (`shorter`: the shorter side to
    `resize_size`; `squash`: both sides), centre-cropped to `input_size`, and normalised with `mean` and `std`.
    """

    input_size: int  # pixels, square
    resize_size: int  # pixels
    resize_mode: Literal["shorter", "squash"] = "shorter"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop: Literal["center"] = "center"
    antialias: bool = True
    depth: Depth = PLAIN_DEPTH  # of the data set: what 8 bits are made of more than 8 by

    def at(self, input_size: int) -> Preprocessing:
        """The same recipe at another input size: `resize_size` keeps its ratio to `input_size`."""
        resize = round(self.resize_size * input_size / self.input_size)
        return replace(self, input_size=input_size, resize_size=resize)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain values; a depth that nothing was decided of is not in it: it names the rows of before."""
        value = asdict(self)
        if self.depth == PLAIN_DEPTH:
            del value["depth"]
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Preprocessing:
        """The recipe that `as_dict` gave."""
        known = {"mean": tuple(value["mean"]), "std": tuple(value["std"]), "depth": Depth(**value.get("depth", {}))}
        return cls(**{**value, **known})


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a backbone's weights come from."""

    kind: Literal["hub", "package", "file", "random", "custom"]
    label: str  # what the leaderboard shows: IMAGENET1K_V1, in1k (package), a file's name, random(0)
    location: str = ""  # the file
    fell_back: bool = False  # "if-available" found nothing: random weights stand in
    doubts: tuple[str, ...] = ()  # of a file: what speaks against its being the network's, in words

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> WeightsOrigin:
        """The origin that was written as JSON values, by this version or an earlier one."""
        return cls(**{**value, "doubts": tuple(value.get("doubts", ()))})


@dataclass(frozen=True)
class Identity:
    """All that a cached row depends on beside the image itself: another one makes other rows.

    Labels, splits, file names and the data set are not in it, so changing those costs nothing.
    """

    backbone: str
    source: str
    weights: str  # sha256 of the backbone's tensors, by name
    preprocessing: Preprocessing
    tap: str  # where the pooled features are taken
    precision: str  # of the forward pass
    dtype: str  # of the stored rows: float16, float32, or auto (float16 where it loses nothing that matters)
    format_version: int = FORMAT_VERSION

    def as_dict(self) -> dict[str, Any]:
        """The identity as plain JSON values."""
        text = canonical_json({**asdict(self), "preprocessing": self.preprocessing.as_dict()})
        value: dict[str, Any] = json.loads(text)
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Identity:
        """The identity that `as_dict` gave."""
        return cls(**{**value, "preprocessing": Preprocessing.from_dict(value["preprocessing"])})

    def at_depth(self, depth: Depth) -> Identity:
        """The identity of the rows of images that are read at `depth`."""
        return replace(self, preprocessing=replace(self.preprocessing, depth=depth))

    @property
    def short(self) -> str:
        """The first eight hex digits of the identity's digest: part of the store's file name."""
        return digest(self.as_dict())[:8]

    @property
    def stem(self) -> str:
        """The store's file name without its ending."""
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in self.backbone)
        return f"{safe}-{self.preprocessing.input_size}-{self.short}"


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone once it has been built and run once."""

    identity: Identity
    features: int  # F
    params: int  # of the backbone, without any classifier
    origin: WeightsOrigin

    def at_depth(self, depth: Depth) -> BackboneInfo:
        """The same for images that are read at `depth`."""
        return replace(self, identity=self.identity.at_depth(depth))


@dataclass(frozen=True)
class Latency:
    """One forward pass, timed: milliseconds over `iterations` passes after `warmup` untimed ones."""

    mean: float
    std: float
    p50: float
    p95: float
    p99: float
    iterations: int
    warmup: int
    batch_size: int


@dataclass(frozen=True)
class Measurement:
    """The full model's latency at one precision; the batch size is the latency's."""

    precision: str
    latency_ms: Latency


@dataclass(frozen=True)
class Profile:
    """What the full model (backbone and head) costs on one device."""

    device: str
    precision: str
    threads: int
    input_size: int
    latency_ms: Latency  # of backbone and head together, isolated from loading
    preprocess_ms: Latency | None  # of one image file to the network's input, on one CPU thread; over some real files
    backbone_ms: Latency  # the two shares of latency_ms
    head_ms: Latency
    measurements: tuple[Measurement, ...]  # every batch size and precision that was asked for; latency_ms is the first
    throughput_batch_size: int
    images_per_second: float  # forward passes alone, at throughput_batch_size
    macs: int  # of one image: convolutions, linear layers, matrix products
    flops: int  # 2 x macs
    macs_by_operator: dict[str, int]
    other_flops_by_operator: dict[str, int]  # normalisation, pooling: not in macs
    unmapped_operators: dict[str, int]  # operator -> how often; their cost is not counted
    counter: str
    params_backbone: int
    params_head: int
    peak_memory_bytes: int
    peak_memory_kind: str
    measured_at: str = ""
    busy: bool = field(default=False)  # p95 over 1.5 x p50: something else ran beside the measurement

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Profile:
        """The profile that `dataclasses.asdict` gave."""
        parts = {k: Latency(**value[k]) for k in ("latency_ms", "backbone_ms", "head_ms")}
        preprocess = value["preprocess_ms"] and Latency(**value["preprocess_ms"])
        measurements = tuple(Measurement(m["precision"], Latency(**m["latency_ms"])) for m in value["measurements"])
        return cls(**{**value, **parts, "preprocess_ms": preprocess, "measurements": measurements})


class Progress(Protocol):
    """Who is told how the work goes: the command line draws it, a library call stays silent."""

    def whole(self, total: int) -> None:
        """`total` pieces of work lie ahead, one for each config."""

    def piece_done(self) -> None:
        """One of them is over, well or not."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """Work named `what` starts; `total` steps of `unit` lie ahead."""

    def advance(self, steps: int, note: str = "") -> None:
        """`steps` more are done; `note` says what became of them so far."""

    def end(self, summary: str) -> None:
        """The work that began last is over; `summary` says how it went."""


class Silent:
    """Progress that nobody watches."""

    def whole(self, total: int) -> None:
        """Nothing."""

    def piece_done(self) -> None:
        """Nothing."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """Nothing."""

    def advance(self, steps: int, note: str = "") -> None:
        """Nothing."""

    def end(self, summary: str) -> None:
        """Nothing."""


SILENT = Silent()
