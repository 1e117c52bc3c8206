"""An export beside its run on the same images: how often they agree, how far their logits are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.export.compared_images import ComparedImages
from heads.export.model_inputs import Batch, ModelInputs
from heads.export.request import Limits

AT_ONCE = 16  # images of a batch; the last one is smaller, so that a fixed batch size is noticed

Runner = Callable[[Batch], NDArray[np.generic]]  # the inputs of a batch to its logits [N, C]


@dataclass(frozen=True)
class Parity:
    """What came of a comparison; logits are those that the export gives, divided by the run's temperature."""

    compared_on: str
    images: int
    agreement: float  # share of images whose likeliest class is the same
    largest_difference: float  # of any logit
    mean_difference: float
    largest_logit: float  # of the run, in absolute value
    runtime: str

    @property
    def difference_share(self) -> float:
        """The largest difference as a share of the largest logit, of 1 at least."""
        return self.largest_difference / max(self.largest_logit, 1.0)

    def faults(self, limits: Limits) -> list[str]:
        """What is beyond the limits, in words."""
        if not np.isfinite(self.largest_difference):
            return ["it gives logits that are no finite numbers"]
        found = []
        if limits.difference is not None and self.difference_share > limits.difference:
            found.append(
                f"the largest difference of a logit is {self.largest_difference:.3g} where logits reach "
                f"{self.largest_logit:.3g}, a share of {self.difference_share:.2g}; at most {limits.difference:.2g} is "
                "allowed (--tolerance)"
            )
        if limits.agreement is not None and self.agreement < limits.agreement:
            found.append(
                f"the likeliest class is the same of {self.agreement:.1%} of the images; at least "
                f"{limits.agreement:.1%} are wanted (--agreement)"
            )
        return found

    def as_dict(self, limits: Limits) -> dict[str, Any]:
        """As parity.json has it."""
        return {**asdict(self), "difference_share": self.difference_share, "limits": asdict(limits)}


def compare(
    expected: NDArray[np.float32], images: ComparedImages, inputs: ModelInputs, run: Runner, runtime: str
) -> Parity:
    """The parity of what `run` says of the images with the `expected` logits `[N, C]`."""
    starts = range(0, len(images), AT_ONCE)
    found = np.concatenate([run(inputs.batch(images.pixels, start, start + AT_ONCE)) for start in starts])
    difference = np.abs(found.astype(np.float64) - expected)
    return Parity(
        compared_on=images.what,
        images=len(images),
        agreement=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        largest_logit=float(np.abs(expected).max()),
        runtime=runtime,
    )
