"""Combinations of made runs: what weights are fitted by, and what their figure on validation is worth.

Five members: four of unequal strength whose errors are partly shared, and one that is noise. Their weights are fitted
on few images and judged on many others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from heads.combine.fitted_weights import fit_weights
from heads.combine.greedy_selection import ROUNDS, BrierSums, greedy_weights
from heads.runs import calibrate

CLASSES, OTHERS = 5, 4000
STRENGTHS = (2.4, 2.25, 1.95, 1.35, 0.0)  # of what a member knows; the last one knows nothing
SURENESS = (3.0, 1.0, 2.0, 1.5, 1.0)  # that its logits are multiplied by: temperatures take it off
SHARED = 0.8  # of the errors, against 1 of each member's own

Answers = NDArray[np.float64]  # probabilities [K, N, C]
Labels = NDArray[np.int64]
Criterion = Callable[[Answers, Labels], NDArray[np.float64]]

CRITERIA: dict[str, Criterion] = {
    "log loss": lambda averages, y: -np.log(averages[:, np.arange(len(y)), y]).mean(axis=1),
    # Ties, which are many, go by the loss.
    "accuracy": lambda averages, y: (
        (averages.argmax(axis=2) != y).mean(axis=1) - 1e-6 * np.log(averages[:, np.arange(len(y)), y]).mean(axis=1)
    ),
}


def main() -> None:
    """A table for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="+", type=int, default=[42, 168])
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    for images in arguments.images:
        told: dict[str, list[tuple[float, float, float]]] = {}
        honest = []
        for draw in range(arguments.draws):
            rng = np.random.default_rng([images, draw])
            (val, y), (others, z) = members(rng, images), members(rng, OTHERS)
            heat = [calibrate(one.astype(np.float32), y).temperature for one in val]
            seen, judged = (softmax(of / np.array(heat)[:, None, None], axis=2) for of in (val, others))
            for way, weights in ways(seen, y).items():
                told.setdefault(way, []).append((*figures(weights, judged, z), float(weights[-1] > 0)))
            fitted = fit_weights(seen[:, None], y, [str(i) for i in range(images)], ROUNDS)
            held_out = (fitted.held_out[:, :, None] * seen).sum(axis=0)
            true = figures(fitted.weights, judged, z)[0]
            honest.append((figures(fitted.weights, seen, y)[0], float((held_out.argmax(axis=1) == y).mean()), true))
        print(
            f"{images} images, {arguments.draws} draws: top-1, log loss on {OTHERS} others; draws with weight for noise"
        )
        for way, rows in told.items():
            top1, loss, noisy = (fmean(of) for of in zip(*rows, strict=True))
            print(f"  {way:16s} {top1:.3f} {loss:.3f} {noisy:5.0%}")
        found, corrected, true = (fmean(of) for of in zip(*honest, strict=True))
        print(f"  by Brier score, top-1: {found:.3f} as found, {corrected:.3f} out of part, {true:.3f} on the others")


def members(rng: np.random.Generator, count: int) -> tuple[Answers, Labels]:
    """Logits `[K, N, C]` and labels."""
    y = rng.integers(CLASSES, size=count)
    shared = SHARED * rng.standard_normal((count, CLASSES))
    made = [
        sure * (strength * np.eye(CLASSES)[y] + (strength > 0) * shared + rng.standard_normal((count, CLASSES)))
        for strength, sure in zip(STRENGTHS, SURENESS, strict=True)
    ]
    return np.stack(made), y


def ways(seen: Answers, y: Labels) -> dict[str, NDArray[np.float64]]:
    """Weights `[K]` by the name of how they were found."""
    best = (seen.argmax(axis=2) == y).mean(axis=1).argmax()
    return {
        "best member": np.eye(len(seen))[best],
        "plain average": np.full(len(seen), 1 / len(seen)),
        **{f"by {name}": greedy(seen, y, criterion) for name, criterion in CRITERIA.items()},
        "by Brier score": greedy_weights(BrierSums.of(seen[:, None], y)),
    }


def greedy(seen: Answers, y: Labels, criterion: Criterion) -> NDArray[np.float64]:
    """`greedy_weights` by another criterion, smaller better."""
    counts, kept, least = np.zeros(len(seen)), np.zeros(len(seen)), np.inf
    for number in range(1, ROUNDS + 1):
        scores = criterion((np.tensordot(counts, seen, 1) + seen) / number, y)
        counts[scores.argmin()] += 1
        if scores.min() < least - 1e-12:
            least, kept = float(scores.min()), counts / number
    return kept


def figures(weights: NDArray[np.float64], answers: Answers, y: Labels) -> tuple[float, float]:
    """Top-1 and log loss of an average."""
    average = np.tensordot(weights, answers, 1)
    return float((average.argmax(axis=1) == y).mean()), float(-np.log(average[np.arange(len(y)), y]).mean())


if __name__ == "__main__":
    main()
