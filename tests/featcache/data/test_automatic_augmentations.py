"""TrivialAugment, RandAugment and AugMix are torchvision's, drawn from a seed of the view, whatever else draws."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from featcache.data.automatic_augmentations import Automatic, augmented
from featcache.options.augmentation_options import AugMix, RandAugment, TrivialAugment

FILL = (10, 20, 30)
COLOUR = [10.0, 20.0, 30.0]
BILINEAR = v2.InterpolationMode.BILINEAR
EACH: dict[str, tuple[Automatic, v2.Transform]] = {
    "trivial": (TrivialAugment(bins=17), v2.TrivialAugmentWide(17, BILINEAR, COLOUR)),
    "rand": (RandAugment(operations=3, magnitude=14), v2.RandAugment(3, 14, interpolation=BILINEAR, fill=COLOUR)),
    "augmix": (AugMix(severity=5, width=2, depth=2), v2.AugMix(5, 2, 2, interpolation=BILINEAR, fill=COLOUR)),
}


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (29, 37, 3), dtype=np.uint8))


@pytest.mark.parametrize(("spec", "transform"), EACH.values(), ids=EACH)
def test_it_is_torchvisions_after_a_seed(spec: Automatic, transform: v2.Transform) -> None:
    found = set()
    for seed in range(12):
        torch.manual_seed(seed)
        expected = np.asarray(transform(picture()))
        torch.manual_seed(seed + 1)
        before = torch.get_rng_state()
        assert (np.asarray(augmented(picture(), spec, seed, FILL)) == expected).all(), seed
        assert torch.equal(torch.get_rng_state(), before)  # of the training that goes on beside it
        found.add(expected.tobytes())
    assert len(found) > 6


@pytest.mark.parametrize("spec", [spec for spec, _ in EACH.values()], ids=EACH)
def test_threads_do_not_draw_from_one_another(spec: Automatic) -> None:
    alone = [np.asarray(augmented(picture(), spec, seed, FILL)) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: np.asarray(augmented(picture(), spec, seed, FILL)), range(24)))
    assert all((a == b).all() for a, b in zip(alone, together, strict=True))
