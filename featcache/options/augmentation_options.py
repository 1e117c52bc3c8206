"""The augmentations that `data.augmentations` can name, each with its own options.

Another one is a class here with a place in AUGMENTATIONS, and its case in `featcache/data/augmentations.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import BeforeValidator, Field

from featcache.options.option_types import Fraction, Positive, Section


class AugmentationSpec(Section):
    """One augmentation with its options; `name` is what options files call it."""

    name: str


class HorizontalFlip(AugmentationSpec):
    """Mirror left and right."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: Fraction = 0.5
    """How often."""


class RandomCrop(AugmentationSpec):
    """Crop `input_size` at a random place instead of the centre."""

    name: Literal["random_crop"] = "random_crop"
    padding: Fraction | None = None
    """Border added on each side before the crop, as a fraction of `input_size`; null: 1/8 where resizing
    leaves no margin to move in, else none."""


class RandomResizedCrop(AugmentationSpec):
    """Crop a random area and aspect ratio, resized to `input_size`."""

    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.35, 1.0)
    """Area of the crop as a fraction of the image's."""
    ratio: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.75, 1.3333)
    """Width over height."""


class Rotation(AugmentationSpec):
    """Rotate about the centre."""

    name: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest angle to either side."""


class ColorJitter(AugmentationSpec):
    """Change brightness, contrast, saturation and hue."""

    name: Literal["color_jitter"] = "color_jitter"
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05


class RandomErasing(AugmentationSpec):
    """Blank a random rectangle with the mean colour."""

    name: Literal["random_erasing"] = "random_erasing"
    p: Fraction = 0.25
    """How often."""
    scale: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.02, 0.2)
    """Area of the rectangle as a fraction of the image's."""


class TrivialAugment(AugmentationSpec):
    """One operation of torchvision's list (shear, rotate, colours, contrast, ..), at a random strength: TrivialAugment
    (wide), Mueller and Hutter 2021."""

    name: Literal["trivial_augment"] = "trivial_augment"
    bins: Annotated[int, Field(ge=2, le=255)] = 31
    """Strengths that are drawn from, from none to the largest."""


class RandAugment(AugmentationSpec):
    """Some operations of torchvision's list one after the other, all at one strength: RandAugment, Cubuk et al.
    2020."""

    name: Literal["rand_augment"] = "rand_augment"
    operations: Annotated[int, Field(ge=1, le=14)] = 2
    """How many."""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Their strength."""


class AugMix(AugmentationSpec):
    """A blend of the image and of several chains of operations on it: AugMix, Hendrycks et al. 2020 (the images; not
    the loss that compares them)."""

    name: Literal["aug_mix"] = "aug_mix"
    severity: Annotated[int, Field(ge=1, le=10)] = 3
    """Largest strength of the operations."""
    width: Annotated[int, Field(ge=1, le=10)] = 3
    """Chains."""
    depth: Annotated[int, Field(ge=1, le=10)] | None = None
    """Operations of a chain; null: 1 to 3, drawn."""
    alpha: Positive = 1.0
    """Of the Dirichlet and Beta distributions that the weights of the blend are drawn from."""


# What `data.augmentations` can name. The names, the schema and the messages follow from this tuple.
AUGMENTATIONS: tuple[type[AugmentationSpec], ...] = (
    HorizontalFlip,
    RandomCrop,
    RandomResizedCrop,
    Rotation,
    ColorJitter,
    TrivialAugment,
    RandAugment,
    AugMix,
    RandomErasing,
)


def augmentation_name(kind: type[AugmentationSpec]) -> str:
    """What an options file calls this augmentation."""
    name: str = kind.model_fields["name"].default
    return name


if TYPE_CHECKING:
    Augmentation = AugmentationSpec
else:  # of the tuple, which type checkers cannot read
    _Any = Union[AUGMENTATIONS]  # noqa: UP007
    _Name = Literal[tuple(augmentation_name(kind) for kind in AUGMENTATIONS)]
    Augmentation = Annotated[
        Annotated[_Any, Field(discriminator="name")],
        # A bare name means the augmentation with its defaults.
        BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v, json_schema_input_type=_Name | _Any),
    ]
