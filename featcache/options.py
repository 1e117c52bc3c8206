"""What a user may write: the JSON of one run, checked whole before any work.

Every default of the project lives here. All faults of a file are collected and shown at once, each with its
key and, for a misspelt key, the nearest name. `configs/options.schema.json` is generated from these classes.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from featcache.errors import OptionsError
from featcache.records import digest

MAX_NAME = 120  # characters of an experiment's name
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Precision = Literal["float32", "bfloat16", "float16"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class HorizontalFlip(_Section):
    """Mirror left and right."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Fraction = 0.5
    """How often."""


class RandomCrop(_Section):
    """Crop `input_size` at a random place instead of the centre."""

    name: Literal["random_crop"] = "random_crop"
    padding: Fraction | None = None
    """Border added on each side before the crop, as a fraction of `input_size`; null: 1/8 where resizing
    leaves no margin to move in, else none."""


class RandomResizedCrop(_Section):
    """Crop a random area and aspect ratio, resized to `input_size`."""

    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.35, 1.0)
    """Area of the crop as a fraction of the image's."""
    ratio: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.75, 1.3333)
    """Width over height."""


class Rotation(_Section):
    """Rotate about the centre."""

    name: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest angle to either side."""


class ColorJitter(_Section):
    """Change brightness, contrast, saturation and hue."""

    name: Literal["color_jitter"] = "color_jitter"
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05


class RandomErasing(_Section):
    """Blank a random rectangle with the mean colour."""

    name: Literal["random_erasing"] = "random_erasing"
    p: Fraction = 0.25
    """How often."""
    scale: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.02, 0.2)
    """Area of the rectangle as a fraction of the image's."""


AugmentationSpec = HorizontalFlip | RandomCrop | RandomResizedCrop | Rotation | ColorJitter | RandomErasing
Augmentation = Annotated[
    Annotated[AugmentationSpec, Field(discriminator="name")],
    # A bare name means the augmentation with its defaults.
    BeforeValidator(
        lambda v: {"name": v} if isinstance(v, str) else v,
        json_schema_input_type=Literal[
            "horizontal_flip",
            "random_crop",
            "random_resized_crop",
            "rotation",
            "color_jitter",
            "random_erasing",
        ]
        | AugmentationSpec,
    ),
]


class ModelOptions(_Section):
    """The network: a backbone and the head on top of it."""

    backbone: Annotated[str, Field(min_length=1)]
    """Name of a torchvision or timm classifier, of an installed `featcache.backbones` entry point, or
    `package.module:function` together with `--allow-custom`. Several joined by `+` give their features side by side."""
    source: Literal["auto", "torchvision", "timm", "custom"] = "auto"
    """Which library the name is looked up in; auto: torchvision, then timm, then custom."""
    input_size: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Side of the square input in pixels; null: the size the weights were published for."""
    classifier_dims: Annotated[tuple[Count | Literal["auto"], ...], Field(min_length=2)] = (
        "auto",
        1024,
        "auto",
    )
    """Widths of the head from the backbone's features to the classes; `auto` at either end is discovered."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout before the head's last layer and between its hidden layers."""
    pretrained: bool | Literal["if-available"] = True
    """true: pretrained weights or an error; false: seeded random weights; if-available: may fall back, loudly."""
    weights: str | None = None
    """A local .pth or .safetensors state dict, or the name of published weights such as IMAGENET1K_V1."""
    weights_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of random weights; every run with the same seed shares its cached rows."""

    @model_validator(mode="after")
    def _auto_only_at_the_ends(self) -> ModelOptions:
        if "auto" in self.classifier_dims[1:-1]:
            raise ValueError("only the first and the last of model.classifier_dims may be 'auto'")
        if self.weights is not None and self.pretrained is False:
            raise ValueError("model.weights is given and model.pretrained is false: drop one of the two")
        if not all(self.names) or len(set(self.names)) < len(self.names):
            raise ValueError(f"model.backbone is {self.backbone!r}: expected different names between the + signs")
        if self.weights is not None and len(self.names) > 1:
            raise ValueError(f"model.weights is given and model.backbone names {len(self.names)}: drop model.weights")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The backbones: one, or those that are joined."""
        return tuple(name.strip() for name in self.backbone.split("+"))

    @property
    def parts(self) -> tuple[ModelOptions, ...]:
        """The options of each backbone alone; how wide all features together are is no matter of one."""
        if len(self.names) == 1:
            return (self,)
        dims = ("auto", *self.classifier_dims[1:])
        return tuple(self.model_copy(update={"backbone": name, "classifier_dims": dims}) for name in self.names)


class DataOptions(_Section):
    """The images."""

    path: Annotated[str, Field(min_length=1)]
    """An image folder, or `demo:digits` for the embedded handwritten digits."""
    batch_size: Count = 32
    """Images in one step of head training; throughput is measured at it too."""
    augmentations: tuple[Augmentation, ...] = ()
    """Applied in this order to training images only, as cached views."""
    views: Annotated[int, Field(ge=1, le=64)] | None = None
    """Views kept of each training image, the plain one included; null: 4 with augmentations, else 1."""
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads that decode images; null: one for each core."""
    max_bad_fraction: Fraction = 0.01
    """The command fails when more than this fraction of the files cannot be read as images."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Cut from train, by content hash, where the folder has no val split."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Cut from train, by content hash, where the folder has no test split."""
    exclude: Annotated[str, Field(min_length=1)] | None = None
    """A CSV or a plain list of files to leave out, named as below data.path; `featcache audit --write-clean` writes
    one."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Cross-validate: cut train and val together into so many folds, stratified by class, and train a head on each
    choice of all but one."""

    @model_validator(mode="after")
    def _consistent(self) -> DataOptions:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("data.val_fraction and data.test_fraction together leave nothing to train on")
        if self.views is not None and self.views > 1 and not self.augmentations:
            raise ValueError(
                f"data.views is {self.views} but data.augmentations is empty: every view would be the same"
            )
        names = [a.name for a in self.augmentations]
        if len(set(names)) < len(names):
            raise ValueError(f"data.augmentations names one twice: {names}")
        if {"random_crop", "random_resized_crop"} <= set(names):
            raise ValueError("data.augmentations has random_crop and random_resized_crop: keep one of the two")
        return self

    @property
    def training_splits(self) -> frozenset[str]:
        """Whose images train, in one fold or another, and so have views."""
        return frozenset({"train", "val"} if self.folds else {"train"})

    @property
    def view_count(self) -> int:
        """Views of each training image, the plain one included."""
        return self.views if self.views is not None else (4 if self.augmentations else 1)


class UnfreezeStep(_Section):
    """From `epoch` on, `unfreeze` trains too."""

    epoch: Annotated[int, Field(ge=0)]
    """Counted from 0."""
    unfreeze: Fraction | Annotated[str, Field(min_length=1)]
    """`last_block`, `all`, the fraction of the blocks that train (the last ones), or the name of the first block that
    does."""
    lr_scale: Positive = 1.0
    """From here on every learning rate is training.learning_rate times this (and not times an earlier step's)."""


# Options of training that heads on cached features have no use for.
END_TO_END = (
    "lr_decay_per_block",
    "clip_norm",
    "accumulate",
    "mixup",
    "cutmix",
    "ema_decay",
    "channels_last",
    "compile",
)


class TrainingOptions(_Section):
    """How the head is trained, or with an unfreeze_schedule the whole network."""

    epochs: Count = 50
    learning_rate: Positive = 1e-4
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: NonNegative = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of sgd."""
    scheduler: Literal["none", "cosine", "step"] = "none"
    """Of the learning rate, by epoch, after the warm-up; cosine: towards 0; step: a tenth at 1/2 and at 3/4."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs in which the learning rate rises to its full value before the scheduler takes over."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Precision = "float32"
    """Of the backbone's passes (autocast; float16 trains with scaled losses); heads train in float32."""
    patience: Count | None = None
    """Stop after this many epochs without a better epoch; null: never."""
    selection_metric: Literal["val_top1", "val_top3", "val_loss"] = "val_top1"
    """Chooses the best epoch; ties go to top-1, then to the lower validation loss, then to the earlier epoch."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 42
    seeds: (
        Annotated[int, Field(ge=1, le=10_000)]
        | Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)]
    ) = 1
    """How many heads to train (seed, seed + 1, ..), or the list of their seeds."""
    unfreeze_schedule: Annotated[tuple[UnfreezeStep, ...], Field(min_length=1)] | None = None
    """null: the backbone stays frozen and the head trains on cached features. Else training is end to end, and what is
    not unfrozen yet stays frozen."""
    lr_decay_per_block: Annotated[float, Field(gt=0, le=1)] = 1.0
    """End to end: each block's learning rate is that of what follows it (the head, for the last one) times this."""
    clip_norm: Positive | None = None
    """End to end: gradients of larger norm are scaled down to it."""
    accumulate: Count = 1
    """End to end: an update takes the gradients of so many batches of data.batch_size images."""
    mixup: NonNegative = 0.0
    """End to end: alpha of mixup (Zhang et al. 2018); 0: none."""
    cutmix: NonNegative = 0.0
    """End to end: alpha of CutMix (Yun et al. 2019); 0: none. With mixup too, each batch draws one of the two."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """End to end: weights are judged and kept as their moving average with this decay, shorter in the first updates."""
    channels_last: bool = True
    """End to end: the memory layout that convolutions are fastest in on most devices."""
    compile: bool = False
    """End to end: run what trains through torch.compile."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainingOptions:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"training.warmup_epochs is {self.warmup_epochs} of {self.epochs} epochs: leave some after the warm-up"
            )
        return self

    @model_validator(mode="after")
    def _schedule_can_be_followed(self) -> TrainingOptions:
        steps = self.unfreeze_schedule
        if steps is None:
            asked = [n for n in END_TO_END if getattr(self, n) != type(self).model_fields[n].default]
            if asked:
                raise ValueError(
                    f"training.{asked[0]} is of end-to-end training: give training.unfreeze_schedule too, or drop it"
                )
            return self
        epochs = [step.epoch for step in steps]
        if sorted(set(epochs)) != epochs:
            raise ValueError(
                f"training.unfreeze_schedule is out of order: its epochs are {epochs}; expected rising ones"
            )
        if epochs[-1] >= self.epochs:
            raise ValueError(
                f"training.unfreeze_schedule has a step at epoch {epochs[-1]}, past the end: training.epochs is "
                f"{self.epochs}, and epochs count from 0"
            )
        return self

    @model_validator(mode="after")
    def _distinct_seeds(self) -> TrainingOptions:
        if len(set(self.seed_list)) < len(self.seed_list):
            raise ValueError(f"training.seeds names one twice: {list(self.seed_list)}")
        if max(self.seed_list) >= 2**31:
            raise ValueError(f"training.seed and training.seeds reach {max(self.seed_list)}: seeds stay below 2^31")
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seed of each head."""
        if isinstance(self.seeds, tuple):
            return self.seeds
        return tuple(range(self.seed, self.seed + self.seeds))


class CacheOptions(_Section):
    """The store of features."""

    dir: Annotated[str, Field(min_length=1)] = "cache"
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Of the stored rows; auto: float16 where it loses nothing that matters, else float32."""
    batch_size: Count = 32
    """Images in one forward pass of extraction, at most: on a CPU fewer are faster, and fewer are taken."""
    compile: bool = False
    """Run the backbone through torch.compile, which takes a minute first and repays it on some networks only."""
    max_decoded_gb: NonNegative = 16.0
    """Disk that decoded images may take during a command with several backbones; what does not fit is decoded again."""
    max_features_gb: Positive = 8.0
    """Memory that features may take while heads train; more is read from the store in blocks, in every epoch."""
    max_trunk_gb: NonNegative = 32.0
    """End to end: what the frozen blocks give may take so much, in memory up to max_features_gb, else in the store;
    where it would take more, every epoch runs the whole network."""


class ProfileOptions(_Section):
    """How latency is measured."""

    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    warmup: Annotated[int, Field(ge=0, le=10_000)] = 10
    batch_sizes: Annotated[list[Count], Field(min_length=1)] = [1]
    """Images in the forward pass that is timed; the first is the one that the leaderboard shows."""
    precisions: list[Precision] = []
    """To measure beside training.precision, which the leaderboard shows."""


class Options(_Section):
    """One run of featcache."""

    experiment_name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    """Name of the folder under results/."""
    model: ModelOptions
    data: DataOptions
    training: TrainingOptions = TrainingOptions()
    cache: CacheOptions = CacheOptions()
    profile: ProfileOptions = ProfileOptions()

    @model_validator(mode="after")
    def _name_stays_in_results(self) -> Options:
        if self.experiment_name in {"leaderboard.csv", "report.html", "report.md", "sweeps", "audit", "figures"}:
            raise ValueError(f"experiment_name is {self.experiment_name!r}, which results/ needs for itself")
        plain_name(self.experiment_name, "experiment_name")
        return self

    @model_validator(mode="after")
    def _end_to_end_is_of_one_network(self) -> Options:
        if self.training.unfreeze_schedule is not None:
            if len(self.model.names) > 1:
                raise ValueError(
                    f"training.unfreeze_schedule is given and model.backbone names {len(self.model.names)}: end-to-end "
                    "training is of one network"
                )
            if self.data.folds is not None:
                raise ValueError(
                    "training.unfreeze_schedule and data.folds are given: end-to-end training takes train and val as "
                    "they are; set data.folds to null"
                )
        return self

    @property
    def parts(self) -> tuple[Options, ...]:
        """The options of stage one for each backbone that is named."""
        return tuple(self.model_copy(update={"model": model}) for model in self.model.parts)

    def as_dict(self) -> dict[str, Any]:
        """The options as JSON values, every default filled in."""
        value: dict[str, Any] = self.model_dump(mode="json")
        return value

    @property
    def short(self) -> str:
        """Eight hex digits that tell options apart (name, workers, the cache's place and disk limit do not count)."""
        value = self.as_dict()
        del value["experiment_name"], value["cache"]["dir"], value["cache"]["max_decoded_gb"], value["data"]["workers"]
        return digest(value)[:8]


def parse_options(value: Mapping[str, Any], where: str = "options") -> Options:
    """`value` (the JSON of one run) checked and completed.

    Raises OptionsError that lists every fault with its key; `where` names the file in the message.
    """
    document = {k: v for k, v in value.items() if k != "$schema"}  # editors find the schema by this key
    if "space" in document and "experiment_name" not in document:
        raise OptionsError(f"{where}: is a sweep, not the options of one run. Start it with `featcache sweep {where}`.")
    try:
        return Options.model_validate_json(json.dumps(document, allow_nan=False, default=_plain_number))
    except ValidationError as error:
        raise OptionsError(f"{where}: {'; '.join(_faults(error))}.") from None
    except (TypeError, ValueError) as error:
        raise OptionsError(f"{where}: not JSON values: {error}.") from None


def require_frozen(options: Options) -> None:
    """Raise OptionsError for a schedule: heads train on frozen backbones."""
    if options.training.unfreeze_schedule is not None:
        raise OptionsError(
            "training.unfreeze_schedule: this trains heads on frozen backbones only. Set it to null, or use `featcache "
            "finetune`."
        )


def load_options(path: str | Path, overrides: Sequence[str] = ()) -> Options:
    """The options file at `path`, with `overrides` like `training.learning_rate=5e-5` applied.

    Raises OptionsError when the file is missing, is not JSON, or does not validate.
    """
    document = read_json(Path(path))
    apply_overrides(document, overrides)
    return parse_options(document, str(path))


def load_base_config(path: str | Path | None = None) -> dict[str, Any]:
    """`configs/base.json` as a plain dict: change what you like and pass it to `train_model`.

    Without `path`: the file in the current folder, else the one featcache came with.
    """
    return read_json(Path(path) if path is not None else shipped_config("base.json"))


def shipped_config(name: str) -> Path:
    """The file `name` of `configs/`: that in the current folder, else the one featcache came with."""
    here = Path(__file__).resolve().parent
    shipped = [Path("configs") / name, here / name, here.parent / "configs" / name]
    return next((p for p in shipped if p.is_file()), shipped[0])


def config_files(paths: Iterable[str | Path]) -> list[Path]:
    """Every options file meant by `paths`: files as they are, folders by their *.json, sorted, recursively."""
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(p for p in path.rglob("*.json") if not p.name.endswith(".schema.json"))
            if not found:
                raise OptionsError(f"{path}: the folder holds no *.json options file. Put one in it, or name another.")
            files += found
        else:
            files.append(path)
    return list(dict.fromkeys(files))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; raises OptionsError that says what is wrong and where."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise OptionsError(f"{path}: there is no such file. Name an options file or a folder of them.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"{path}: cannot be read: {error}.") from None
    try:
        value = json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_no_constants)
    except json.JSONDecodeError as error:
        raise OptionsError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError as error:
        raise OptionsError(f"{path}: {error}.") from None
    if not isinstance(value, dict):
        raise OptionsError(f"{path}: holds a JSON {type(value).__name__}; expected an object like configs/base.json.")
    return value


def apply_overrides(document: dict[str, Any], overrides: Sequence[str]) -> None:
    """Write each `section.key=value` into `document`; a value that is not JSON is taken as a string."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise OptionsError(f"--set {override}: expected KEY=VALUE, such as training.learning_rate=5e-5.")
        try:
            value = json.loads(text, parse_constant=_no_constants, object_pairs_hook=_no_repeats)
        except json.JSONDecodeError:
            value = text
        except ValueError as error:
            raise OptionsError(f"--set {override}: {error}.") from None
        put(document, key, value, f"--set {override}")


def put(document: dict[str, Any], key: str, value: Any, where: str = "options") -> None:
    """Write `value` at `section.key` of a plain options dict."""
    *sections, last = key.split(".")
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise OptionsError(f"{where}: {section} is not a section of the options.")
    target[last] = value


def plain_name(name: str, key: str) -> None:
    """Raise ValueError unless `name` can be a folder's name on every system."""
    size = len(name.encode(errors="replace"))
    if not 0 < size <= 200:  # file systems take 255, and suffixes need room
        raise ValueError(f"{key} has {size} bytes: expected 1 to 200")
    if name.startswith(".") or any(c in '/\\:*?"<>|' or not c.isprintable() for c in name):
        raise ValueError(
            f"{key} is {name!r}, which is no plain folder name: it may not start with a dot "
            'or hold any of / \\ : * ? " < > |'
        )


def options_schema() -> dict[str, Any]:
    """The JSON schema of an options file, for editors."""
    schema = Options.model_json_schema()
    schema["properties"]["$schema"] = {"type": "string", "description": "Where editors find this schema."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "featcache options"}


def known_keys() -> list[str]:
    """Every option as `section.key`, sections too, for suggestions."""
    inner = [f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields]
    return [*Options.model_fields, *inner]


def nearest_key(key: str) -> str:
    """In brackets, the known option that a misspelt `section.key` probably meant."""
    section, _, last = key.rpartition(".")
    return _nearest(section, last, [])


def _faults(error: ValidationError) -> list[str]:
    """Every fault as `section.key: what is wrong, got what`; the alternatives of one key in one line."""
    wrong: dict[str, tuple[list[str], str]] = {}
    faults: list[str] = []
    errors = error.errors()
    for fault in errors:
        # Union members put their own names into the location; those are our classes, not the user's keys.
        key = ".".join(str(p) for p in fault["loc"] if isinstance(p, int) or p in _field_names())
        if fault["type"] == "extra_forbidden":
            *place, last = fault["loc"]
            section = ".".join(str(p) for p in place if isinstance(p, int) or p in _field_names())
            key = f"{section}.{last}" if section else str(last)
            faults.append(f"unknown key {key!r}{_nearest(section, str(last), _list_item_fields(place))}")
        elif fault["type"] == "missing":
            faults.append(f"{key} is missing")
        elif fault["type"] == "value_error":
            faults.append(str(fault["ctx"]["error"]))
        elif fault["type"] == "too_short" and any(
            other is not fault and other["loc"][: len(fault["loc"])] == fault["loc"] for other in errors
        ):
            continue  # pydantic counts the valid items only: the fault is the item that is named too
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            wrong.setdefault(key, ([], json.dumps(fault["input"], default=str)))[0].append(message)
    return faults + [f"{key}: {' or '.join(dict.fromkeys(m))}, got {got}" for key, (m, got) in wrong.items()]


def _nearest(section: str, last: str, item_fields: list[str]) -> str:
    """The known key that was probably meant: the same name elsewhere, a similar one here, a similar one elsewhere."""
    here = {k.rpartition(".")[2]: k for k in known_keys() if k.rpartition(".")[0] == section}
    here = {n: f"{section}.{n}" for n in item_fields} or here
    anywhere = {k.rpartition(".")[2]: k for k in known_keys()}
    if last in anywhere and not item_fields:
        return f" (did you mean {anywhere[last]!r}?)"
    for candidates in (here,) if item_fields else (here, anywhere):
        close = difflib.get_close_matches(last, candidates, n=1, cutoff=0.6)
        if close:
            return f" (did you mean {candidates[close[0]]!r}?)"
    return f" (known here: {', '.join(here)})"


def _list_item_fields(place: Sequence[int | str]) -> list[str]:
    """The keys of an object in a list (an augmentation, a step of the schedule); empty for a section."""
    if "augmentations" in place:
        named = (
            [c for c in _NESTED if c.model_fields["name"].default == place[-1]] if isinstance(place[-1], str) else []
        )
        return [n for c in named for n in c.model_fields]
    return list(UnfreezeStep.model_fields) if "unfreeze_schedule" in place else []


_SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelOptions,
    "data": DataOptions,
    "training": TrainingOptions,
    "cache": CacheOptions,
    "profile": ProfileOptions,
}
_NESTED: tuple[type[BaseModel], ...] = (
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    ColorJitter,
    RandomErasing,
)


def _field_names() -> set[str]:
    sections: tuple[type[BaseModel], ...] = (Options, *_SECTIONS.values(), UnfreezeStep, *_NESTED)
    return {n for c in sections for n in c.model_fields}


def _plain_number(value: Any) -> Any:
    """A numpy scalar, which search loops like to hold, as the number it is."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [k for k, _ in pairs]
    repeated = sorted({k for k in keys if keys.count(k) > 1})
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands twice in one object: keep one of the two")
    return dict(pairs)


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
