"""Views of an image depend on its content, their number and the augmentations, and on nothing else."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from featcache.data.augmentations import spec_digest, view
from featcache.data.transforms import to_uint8
from featcache.options.augmentation_options import (
    AUGMENTATIONS,
    AugmentationSpec,
    AugMix,
    ColorJitter,
    HorizontalFlip,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    Rotation,
    TrivialAugment,
)
from featcache.records import Preprocessing

PREPROCESSING = Preprocessing(input_size=33, resize_size=38)
MEAN_COLOUR = [124, 116, 104]  # 255 x ImageNet's mean
ALL: tuple[AugmentationSpec, ...] = (
    HorizontalFlip(),
    Rotation(),
    RandomResizedCrop(),
    ColorJitter(),
    RandomErasing(p=1.0),
)
AUTOMATIC: tuple[AugmentationSpec, ...] = (TrivialAugment(), RandAugment(), AugMix())
EACH: tuple[AugmentationSpec, ...] = (*ALL, RandomCrop(), *AUTOMATIC)


def picture(width: int = 61, height: int = 47, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def content(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def views(
    image: Image.Image,
    augmentations: Sequence[AugmentationSpec],
    numbers: Sequence[int],
    preprocessing: Preprocessing = PREPROCESSING,
) -> list[Tensor]:
    return [view(image, content(image), n, augmentations, preprocessing) for n in numbers]


def coordinates(width: int, height: int) -> Image.Image:
    """Red tells the column and green the row of each pixel, blue is 255."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[..., 0], pixels[..., 1] = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(pixels)


# --- what a view depends on


def test_view_0_is_the_plain_transform() -> None:
    image = picture()
    assert torch.equal(view(image, content(image), 0, ALL, PREPROCESSING), to_uint8(image, PREPROCESSING))


def test_views_without_augmentations_are_the_plain_transform() -> None:
    image = picture()
    assert torch.equal(view(image, content(image), 1, (), PREPROCESSING), to_uint8(image, PREPROCESSING))


def test_order_and_other_randomness_do_not_matter() -> None:
    image, other = picture(), picture(seed=1)
    forwards = views(image, ALL, range(1, 6))
    random.seed(99)
    torch.manual_seed(99)
    views(other, ALL, range(3))
    backwards = views(image, ALL, range(5, 0, -1))
    assert all(torch.equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_the_image_is_left_as_it_was() -> None:
    image = picture()
    before = image.tobytes()
    views(image, ALL, range(4))
    assert image.tobytes() == before


def test_drawing_leaves_the_callers_generators_alone() -> None:
    random.seed(3)
    torch.manual_seed(3)
    expected = (random.random(), torch.rand(1).item())
    random.seed(3)
    torch.manual_seed(3)
    views(picture(), (*ALL, *AUTOMATIC), range(4))
    assert (random.random(), torch.rand(1).item()) == expected


def fingerprint_of_views() -> str:
    every = [*views(picture(), ALL, range(4)), *views(picture(), (RandomCrop(), *AUTOMATIC), range(4))]
    return hashlib.sha256(torch.stack(every).numpy().tobytes()).hexdigest()


def test_another_process_draws_the_same() -> None:
    # With another hash seed: nothing may hang on the order of a set or on hash().
    code = "import test_augmentations; print(test_augmentations.fingerprint_of_views())"
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(here.parent), str(here.parents[3])]!r}; {code}"],
        env={"PYTHONHASHSEED": "12345", "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint_of_views()


def test_views_differ_from_one_another() -> None:
    every = views(picture(), (RandomResizedCrop(),), range(10))
    assert len({t.numpy().tobytes() for t in every}) == 10


def test_images_of_other_content_are_augmented_otherwise() -> None:
    # The same pixels under two contents: only the seed differs.
    image = picture()
    one, two = (view(image, sha, 1, (RandomResizedCrop(),), PREPROCESSING) for sha in ("0" * 64, "1" * 64))
    assert not torch.equal(one, two)


def test_another_spec_draws_otherwise() -> None:
    image = picture()
    (one,) = views(image, (RandomResizedCrop(scale=(0.35, 1.0)),), [1])
    (two,) = views(image, (RandomResizedCrop(scale=(0.35, 0.99)),), [1])
    assert not torch.equal(one, two)


def test_spec_digest_names_what_is_drawn() -> None:
    assert spec_digest([Rotation(), HorizontalFlip()]) == spec_digest([Rotation(degrees=15.0), HorizontalFlip(p=0.5)])
    distinct = [
        [],
        [Rotation()],
        [Rotation(degrees=16)],
        [HorizontalFlip()],
        [HorizontalFlip(), Rotation()],
        [Rotation(), HorizontalFlip()],  # another order is another picture
    ]
    assert len({spec_digest(d) for d in distinct}) == len(distinct)


# --- what each augmentation does


def test_flip_is_the_mirror() -> None:
    image = picture()
    (always,) = views(image, (HorizontalFlip(p=1.0),), [1])
    assert torch.equal(always, to_uint8(ImageOps.mirror(image), PREPROCESSING))
    (never,) = views(image, (HorizontalFlip(p=0.0),), [1])
    assert torch.equal(never, to_uint8(image, PREPROCESSING))


def test_flip_happens_about_as_often_as_asked() -> None:
    image = picture()
    plain = to_uint8(image, PREPROCESSING)
    flipped = sum(not torch.equal(v, plain) for v in views(image, (HorizontalFlip(p=0.25),), range(1, 201)))
    assert 30 <= flipped <= 70  # 50 expected, deviation 6


def test_crop_is_a_window_of_the_resized_image() -> None:
    image = coordinates(60, 40)
    plain = Preprocessing(input_size=24, resize_size=40)  # resizing changes nothing here
    corners = set()
    for crop in views(image, (RandomCrop(),), range(1, 41), plain):
        left, top = int(crop[0, 0, 0]), int(crop[1, 0, 0])
        window = np.asarray(image)[top : top + 24, left : left + 24]
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), window)
        corners.add((left, top))
    assert len(corners) > 30
    assert max(x for x, _ in corners) > 26  # of 36: it reaches both sides
    assert min(x for x, _ in corners) < 10


@pytest.mark.parametrize(("padding", "border"), [(None, 3), (0.25, 6)])
def test_crop_without_a_margin_moves_over_a_border(padding: float | None, border: int) -> None:
    image = coordinates(24, 24)
    exact = Preprocessing(input_size=24, resize_size=24)
    shifts = set()
    for crop in views(image, (RandomCrop(padding=padding),), range(1, 61), exact):
        inside = crop[2] == 255  # the border's blue is the mean's
        assert crop[:, ~inside].unique(dim=1).T.tolist() in ([], [MEAN_COLOUR])
        y, x = (int(v) for v in torch.nonzero(inside)[0])
        dx, dy = int(crop[0, y, x]) - x, int(crop[1, y, x]) - y
        assert int(inside.sum()) == (24 - abs(dx)) * (24 - abs(dy))
        shifts |= {dx, dy}
    assert (min(shifts), max(shifts)) == (-border, border)


def test_crop_without_border_and_margin_is_the_image() -> None:
    image = coordinates(24, 24)
    (crop,) = views(image, (RandomCrop(padding=0.0),), [1], Preprocessing(input_size=24, resize_size=24))
    assert np.array_equal(crop.permute(1, 2, 0).numpy(), np.asarray(image))


def test_resized_crop_of_everything_is_the_resized_image() -> None:
    image = picture(50, 50)
    whole = RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    (crop,) = views(image, (whole,), [1])
    assert torch.equal(crop, to_uint8(image, Preprocessing(input_size=33, resize_size=33)))


def test_resized_crop_takes_the_area_asked_and_stays_inside() -> None:
    image = coordinates(200, 200)
    quarter = RandomResizedCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0))
    seen = set()
    for crop in views(image, (quarter,), range(1, 31), Preprocessing(input_size=50, resize_size=50)):
        assert crop[2].min() == 255  # nothing from outside
        for channel in (crop[0, 0, :], crop[1, :, 0]):
            assert abs(int(channel[-1]) - int(channel[0]) - 98) <= 3  # half of each side, less the pixels' own size
        seen.add((int(crop[0, 0, 0]), int(crop[1, 0, 0])))
    assert len(seen) > 25


def test_rotation_by_nothing_is_the_image() -> None:
    image = picture()
    (turned,) = views(image, (Rotation(degrees=0.0),), [1])
    assert torch.equal(turned, to_uint8(image, PREPROCESSING))


def test_rotation_turns_to_both_sides_and_no_further_than_asked() -> None:
    side, reach = 65, 26
    image = Image.new("RGB", (side, side))
    image.paste((255, 255, 255), (32 + reach - 2, 30, 32 + reach + 3, 35))  # a dot to the right of the centre
    angles = []
    for turned in views(image, (Rotation(degrees=20.0),), range(1, 41), Preprocessing(side, side)):
        y, x = torch.nonzero(turned[0] > 160).double().mean(dim=0).tolist()
        angles.append(math.degrees(math.atan2(32 - y, x - 32)))
        assert math.hypot(x - 32, y - 32) == pytest.approx(reach, abs=1)  # about the centre
        assert turned[:, 0, 0].tolist() in ([0, 0, 0], MEAN_COLOUR)
    assert -21 < min(angles) < -10
    assert 10 < max(angles) < 21


def test_rotation_fills_with_the_mean_colour() -> None:
    image = Image.new("RGB", (40, 40), (255, 255, 255))
    (turned,) = views(image, (Rotation(degrees=180.0),), [2], Preprocessing(40, 40))
    assert turned[:, 0, 0].tolist() == MEAN_COLOUR
    assert turned[:, 20, 20].tolist() == [255, 255, 255]


def test_jitter_of_nothing_is_close_to_the_image() -> None:
    image = picture()
    (same,) = views(image, (ColorJitter(brightness=0, contrast=0, saturation=0, hue=0),), [1])
    difference = (same.int() - to_uint8(image, PREPROCESSING).int()).abs()
    assert difference.max() <= 8  # hue is turned in Pillow's 8-bit HSV
    assert difference.double().mean() < 2


def test_brightness_stays_in_its_range() -> None:
    grey = Image.new("RGB", (40, 40), (100, 100, 100))
    levels = [
        int(v[0, 5, 5])
        for v in views(grey, (ColorJitter(brightness=0.3, contrast=0, saturation=0, hue=0),), range(1, 41))
    ]
    assert 69 <= min(levels) < 85
    assert 115 < max(levels) <= 131


def test_hue_and_saturation_change_colours_and_leave_greys() -> None:
    jitter = ColorJitter(brightness=0, contrast=0, saturation=0.5, hue=0.3)
    grey, red = (Image.new("RGB", (40, 40), c) for c in ((100, 100, 100), (200, 40, 40)))
    for v in views(grey, (jitter,), range(1, 6)):
        assert v.unique().tolist() == [100]
    assert len({tuple(v[:, 5, 5].tolist()) for v in views(red, (jitter,), range(1, 11))}) > 5


def test_erasing_blanks_a_rectangle_with_the_mean_colour() -> None:
    white = Image.new("RGB", (64, 64), (255, 255, 255))
    erase = RandomErasing(p=1.0, scale=(0.05, 0.2))
    places = set()
    for erased in views(white, (erase,), range(1, 31), Preprocessing(64, 64)):
        blank = (erased != 255).any(dim=0)
        rows, columns = blank.any(dim=1).nonzero().flatten(), blank.any(dim=0).nonzero().flatten()
        top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
        assert blank[top : bottom + 1, left : right + 1].all()
        assert int(blank.sum()) == (bottom - top + 1) * (right - left + 1)
        assert 0.04 < blank.double().mean() < 0.22
        assert erased[:, blank].unique(dim=1).T.tolist() == [MEAN_COLOUR]
        places.add((top, left))
    assert len(places) > 20
    (never,) = views(white, (RandomErasing(p=0.0),), [1], Preprocessing(64, 64))
    assert never.unique().tolist() == [255]


def test_the_mean_colour_is_the_networks() -> None:
    half = Preprocessing(32, 32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    (erased,) = views(Image.new("RGB", (32, 32)), (RandomErasing(p=1.0),), [1], half)
    assert erased.unique().tolist() == [0, 128]


# --- odd sizes


@pytest.mark.parametrize("augmentation", EACH, ids=lambda a: a.name)
@pytest.mark.parametrize("size", [(1, 1), (2, 90), (90, 2), (7, 5), (33, 33), (500, 3)])
def test_every_view_has_the_networks_shape(augmentation: AugmentationSpec, size: tuple[int, int]) -> None:
    image = picture(*size)
    for every in (*views(image, (augmentation,), range(3)), *views(image, (augmentation, HorizontalFlip(p=1)), [1])):
        assert every.dtype == torch.uint8
        assert every.shape == (3, 33, 33)


@pytest.mark.parametrize("crop", [RandomCrop(), RandomCrop(padding=0.0), RandomResizedCrop()])
@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(65, 74), Preprocessing(65, 40), Preprocessing(65, 65, "squash")]
)
def test_a_network_larger_than_the_image(crop: AugmentationSpec, preprocessing: Preprocessing) -> None:
    for every in views(
        picture(11, 9), (Rotation(), crop, ColorJitter(), RandomErasing(p=1.0)), range(4), preprocessing
    ):
        assert every.dtype == torch.uint8
        assert every.shape == (3, 65, 65)


def test_these_tests_see_every_augmentation() -> None:
    assert {type(augmentation) for augmentation in EACH} == set(AUGMENTATIONS)


def test_an_augmentation_without_its_case_is_not_passed_over() -> None:
    class Blur(AugmentationSpec):
        name: str = "blur"

    with pytest.raises(AssertionError, match="blur has no case"):
        views(picture(), (Blur(),), [1])
