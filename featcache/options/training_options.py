"""The section `training`: optimiser, learning rate, schedule, selection, seeds and unfreezing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from featcache.counted_nouns import counted
from featcache.options.adapter_options import Adapter
from featcache.options.class_weight_options import ClassWeights
from featcache.options.distillation_options import Distillation
from featcache.options.known_names import OneOf
from featcache.options.option_types import Count, Fraction, NonNegative, Positive, Precision, Section
from featcache.plugins import plugin_names

METRIC_PLUGINS = "featcache.metrics"  # the entry points by which packages bring metrics of their own
BUILT_IN_METRICS = ("val_top1", "val_top3", "val_loss", "val_balanced_accuracy", "val_macro_f1", "val_auroc")


def selection_metrics() -> tuple[str, ...]:
    """What `training.selection_metric` can be: the built-in names, and those of installed packages."""
    taken = [name.removeprefix("val_") for name in BUILT_IN_METRICS]
    return (*BUILT_IN_METRICS, *(f"val_{name}" for name in plugin_names(METRIC_PLUGINS, taken)))


SelectionMetric = Annotated[str, OneOf(selection_metrics, BUILT_IN_METRICS)]


class UnfreezeStep(Section):
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
    "swa_from",
    "channels_last",
    "compile",
    "gradient_checkpointing",
    "kept_of_folds",
    "frozen_batch_norms",
    "l2_to_start",
    "adapter",
)

# Options that came later: at their defaults they are no part of what tells runs and sweeps apart, which keep theirs.
LATER_TRAINING_OPTIONS = (
    "class_weights",
    "balanced_draws",
    "gradient_checkpointing",
    "distillation",
    "kept_of_folds",
    "frozen_batch_norms",
    "l2_to_start",
    "adapter",
    "swa_from",
)


class TrainingOptions(Section):
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
    class_weights: ClassWeights | None = None
    """What an image of each class counts in the loss: "balanced" (so that all classes count alike), or a number for
    classes by name (others 1). A batch's mean is over the weights, as PyTorch's; figures on val and test are not
    weighted."""
    balanced_draws: bool = False
    """An epoch draws equally many images of each class, with replacement, and as many in all as there are."""
    precision: Precision = "float32"
    """Of the backbone's passes (bfloat16 and float16 by autocast, float16 trains with scaled losses; tf32: float32
    whose products are rounded to TensorFloat-32, on GPUs that have it); heads train in float32."""
    patience: Count | None = None
    """Stop after this many epochs without a better epoch; null: never."""
    selection_metric: SelectionMetric = "val_top1"
    """Chooses the best epoch; val_loss is log loss, in nats. Ties go to top-1, then to the lower loss, then to the
    earlier epoch."""
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
    swa_from: Annotated[int, Field(ge=0)] | None = None
    """End to end: from this epoch on (counted from 0) the equal average of the weights at the ends of epochs is judged
    and kept, batch norms with statistics of its own (SWA, Izmailov et al. 2018); null: none. Not before the last step
    of the schedule, and not with ema_decay."""
    channels_last: bool = True
    """End to end: the memory layout that convolutions are fastest in on most devices."""
    compile: bool = False
    """End to end: run what trains through torch.compile."""
    gradient_checkpointing: bool = False
    """End to end: compute what is inside the network's blocks again in the backward pass, and do not keep it: much less
    memory, for about one more forward pass; results stay the same."""
    adapter: Adapter | None = None
    """End to end: train few parameters of what is unfrozen ({"kind": "lora", "rank": 8}); null: all of them."""
    distillation: Distillation | None = None
    """Learn what a finished run answers to the same images; null: from labels alone. `featcache distill` sets it."""

    frozen_batch_norms: bool = False
    """End to end: batch norms of blocks that train keep the statistics that they came with; their scale and shift
    train."""
    l2_to_start: NonNegative = 0.0
    """End to end: the loss has half of this times the squared distance of the backbone's weights that train from where
    they began (L2-SP, Li et al. 2018); 0: none. weight_decay goes on towards 0."""
    kept_of_folds: Literal["retrained", "average", "measured"] = "retrained"
    """End to end with data.folds: the network that is kept is trained on all of train and val for as many epochs as
    were best over the folds, or is the average of the folds' weights there, or whichever of the two is better by
    out-of-fold figures (which takes a further training for each pair of folds, so three folds at least)."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainingOptions:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"training.warmup_epochs is {self.warmup_epochs} of {counted(self.epochs, 'epoch')}: leave some after "
                "the warm-up"
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
    def _average_can_be_taken(self) -> TrainingOptions:
        since, steps = self.swa_from, self.unfreeze_schedule
        if since is None or steps is None:
            return self
        if self.ema_decay is not None:
            raise ValueError(
                "training.swa_from and training.ema_decay are two averages of the weights, of which one is kept: set "
                "one of them to null"
            )
        if not steps[-1].epoch <= since < self.epochs:
            raise ValueError(
                f"training.swa_from is {since}: expected an epoch from {steps[-1].epoch} (the last step of the "
                f"schedule, from which on the same weights train) to {self.epochs - 1} (the last one, counted from 0)"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_save_memory(self) -> TrainingOptions:
        if self.compile and self.gradient_checkpointing:
            raise ValueError(
                "training.compile and training.gradient_checkpointing are both true: torch.compile decides itself what "
                "is kept for the backward pass. Set one of them to false"
            )
        return self

    @model_validator(mode="after")
    def _teacher_knows_every_image(self) -> TrainingOptions:
        if self.distillation is not None and (self.mixup or self.cutmix):
            raise ValueError(
                "training.distillation is given with training.mixup or training.cutmix: of images that are mixed anew "
                "in every step the teacher has no answers. Set both to 0"
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


def of_heads_alone(training: Mapping[str, Any]) -> dict[str, Any]:
    """A `training` section for heads on cached features: what is of end-to-end training is at its default."""
    defaults = {name: TrainingOptions.model_fields[name].default for name in ("unfreeze_schedule", *END_TO_END)}
    return {**training, **defaults}
