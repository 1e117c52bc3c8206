"""Which validation images a run's heads had right after every epoch: kept in val_outcomes.npz, read back.

With it the choice of the epoch (and of the recipe, where several were tried) can be made again within a resample of
the images, so that a figure can be corrected for having been chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heads.runs.predictions import Predictions, arrays_of
from heads.training import EpochOutcomes, Features, TrainedHead

OUTCOMES_FILE = "val_outcomes.npz"
NEARLY = 0.01  # of the largest logit: closer, the same head may answer either way on another device

# Of an image in a metric of the whole split is kept, 1: its influence, 2: what it adds (split_metric_parts.py).
PARTS_VERSION = 2

_OPTIONAL = ("selected", "answers")

Bits = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ValOutcomes:
    """N validation images by T recipes (1 unless tuned), S seeds and F folds (1 without) over E epochs, the longest.

    What lies behind a head's last epoch is False, 0, -1 or NaN, and must never be chosen.
    """

    images: tuple[str, ...]  # N names, in the order of predictions.npz' val
    fold: NDArray[np.int64]  # [N]: the fold whose head answered the image, the one that did not train on it
    top1: Bits  # [T, S, E, N]
    top3: Bits  # [T, S, E, N]
    loss: NDArray[np.float64]  # [T, S, F, E]: mean loss on val, nats
    epochs: NDArray[np.int64]  # [T, S, F]: how many can be chosen; one whose loss was not finite cannot
    chosen: NDArray[np.int64]  # [T, S, F]: each head's best epoch, by its place
    best: int = 0  # the recipe that was kept
    selected: NDArray[np.float32] | None = None  # [T, S, E, N]: the selection metric, larger better; None: top-1, top-3
    answers: NDArray[np.signedinteger] | None = None  # [T, S, E, N]: the class taken for; not in every earlier file
    parts_version: int = PARTS_VERSION  # which parts `selected` is made of, where it is of a metric of the whole split


def val_outcomes(
    features: Features, recipes: Sequence[Sequence[Sequence[TrainedHead]]], images: Sequence[str], best: int = 0
) -> ValOutcomes:
    """The outcomes of heads `[recipe][seed][fold]` that were trained with `keep_outcomes` on `features`; `images` are
    the names of its validation images, in the order of `features.val_images`."""
    every = features.val_images
    return outcomes_of_heads(recipes, images, [np.searchsorted(every, fold.val) for fold in features.folds], best)


def outcomes_of_heads(
    recipes: Sequence[Sequence[Sequence[TrainedHead]]],
    images: Sequence[str],
    seats: Sequence[NDArray[np.int64]],
    best: int = 0,
) -> ValOutcomes:
    """The same of any heads; `seats` are the places among `images` of each fold's own."""
    fold_of = np.zeros(len(images), np.int64)
    for number, own in enumerate(seats):
        fold_of[own] = number
    epochs = _table(recipes, lambda h: len(h.curve) - (h.diverged is not None))
    longest = max(len(h.curve) for seeds in recipes for folds in seeds for h in folds)
    shape = (*epochs.shape[:2], longest, len(images))
    tops, loss = np.zeros((2, *shape), np.bool_), np.full((*epochs.shape, longest), np.nan)
    first = _kept(recipes[0][0][0])
    selected = np.zeros(shape, np.float32) if first.selected is not None else None
    answers = np.full(shape, -1, first.answers.dtype)
    for t, s, f in np.ndindex(epochs.shape):
        head = recipes[t][s][f]
        kept, last = _kept(head), len(head.curve)
        loss[t, s, f, :last] = [row.val_loss for row in head.curve]
        tops[:, t, s, :last, seats[f]] = kept.right.transpose(2, 0, 1)
        answers[t, s, :last, seats[f]] = kept.answers.T
        if selected is not None and (values := kept.selected) is not None:
            selected[t, s, :last, seats[f]] = values.T
    chosen = _table(recipes, lambda h: h.best_place)
    return ValOutcomes(tuple(images), fold_of, tops[0], tops[1], loss, epochs, chosen, best, selected, answers)


def save_val_outcomes(file: Path, outcomes: ValOutcomes) -> None:
    """`val_outcomes.npz`: the fields by their names, bits packed along N; `selected` and `answers` only where they
    are."""
    arrays = {
        "images": np.array(outcomes.images),
        "fold": outcomes.fold,
        "top1": np.packbits(outcomes.top1, axis=-1),
        "top3": np.packbits(outcomes.top3, axis=-1),
        "loss": outcomes.loss,
        "epochs": outcomes.epochs,
        "chosen": outcomes.chosen,
        "best": np.array(outcomes.best, np.int64),
        "parts_version": np.array(outcomes.parts_version, np.int64),
    }
    arrays |= {n: own for n in _OPTIONAL if (own := getattr(outcomes, n)) is not None}
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its own keyword for one of ours


def load_val_outcomes(file: Path) -> ValOutcomes:
    """What `save_val_outcomes` wrote; raises OSError, KeyError or ValueError when it is not there or damaged."""
    with arrays_of(file) as arrays:
        images = tuple(arrays["images"].tolist())
        found = ValOutcomes(
            images,
            arrays["fold"],
            _unpacked(arrays["top1"], len(images)),
            _unpacked(arrays["top3"], len(images)),
            arrays["loss"],
            arrays["epochs"],
            arrays["chosen"],
            int(arrays["best"]),
            **{name: arrays[name] for name in _OPTIONAL if name in arrays.files},
            parts_version=int(arrays["parts_version"]) if "parts_version" in arrays.files else 1,
        )
    if found.epochs.ndim != 3 or found.loss.shape[:3] != found.epochs.shape or found.loss.ndim != 4:
        raise ValueError(f"{file}: is damaged (epochs {list(found.epochs.shape)}, losses {list(found.loss.shape)})")
    expected = (*found.epochs.shape[:2], found.loss.shape[-1], len(images))
    if found.top1.shape != expected or found.top3.shape != expected or len(found.fold) != len(images):
        raise ValueError(f"{file}: is damaged (outcomes {list(found.top1.shape)}, expected {list(expected)})")
    if found.answers is not None and found.answers.dtype.kind != "i":
        raise ValueError(f"{file}: is damaged (answers of type {found.answers.dtype})")
    if not np.isin(found.fold, np.arange(found.epochs.shape[-1])).all():
        raise ValueError(f"{file}: is damaged (folds {sorted(set(found.fold.tolist()))} of {found.epochs.shape[-1]})")
    return found


def val_outcomes_of(folder: Path) -> ValOutcomes | None:
    """Those of the run in `folder`; None where they are not there, as in older runs, or damaged."""
    try:
        return load_val_outcomes(folder / OUTCOMES_FILE)
    except (OSError, KeyError, ValueError):
        return None


class OtherRunError(ValueError):
    """Outcomes that are of other heads than the predictions beside them."""


def checked_outcomes(folder: Path, seen: Predictions) -> ValOutcomes:
    """Those of the run in `folder`, if they are of the heads that gave its predictions `seen` on val.

    Raises FileNotFoundError where there are none, ValueError with the reason where they are damaged, OtherRunError
    where they are another run's: of other images or heads, or right on others at the epochs that were kept.
    """
    file = folder / OUTCOMES_FILE
    try:
        found = load_val_outcomes(file)
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
        reason = str(error).removeprefix(f"{file}: ")
        said = reason if reason.startswith("is damaged") else f"cannot be read ({reason})"
        raise ValueError(f"{file}: {said}") from None
    if not _of_the_same_heads(found, seen):
        raise OtherRunError(f"{file}: is of another run than the predictions.npz beside it")
    return found


def _of_the_same_heads(found: ValOutcomes, seen: Predictions) -> bool:
    recipes, seeds, longest, _ = found.top1.shape
    chosen = found.chosen
    if found.images != seen.images or seeds != len(seen.logits) or chosen.shape != found.epochs.shape:
        return False
    further = [own for name in _OPTIONAL if (own := getattr(found, name)) is not None]
    if not 0 <= found.best < recipes or any(own.shape != found.top1.shape for own in further):
        return False
    if (chosen < 0).any() or (chosen >= found.epochs).any() or (found.epochs > longest).any():
        return False
    epoch = chosen[found.best][:, found.fold]  # [S, N]
    right = np.take_along_axis(found.top1[found.best], epoch[:, None], axis=1)[:, 0]
    if (right & _surely(seen, False) | ~right & _surely(seen, True)).any():
        return False
    if found.answers is None:
        return True
    taken = np.take_along_axis(found.answers[found.best], epoch[:, None], axis=1)[:, 0]
    first, second = np.sort(seen.logits, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
    return not ((taken != seen.logits.argmax(axis=-1)) & (first - second > _slack(seen))).any()


def _surely(seen: Predictions, right: bool) -> Bits:
    """Which images `[S, N]` are right (or wrong) by more than another order of the same sums would move a logit."""
    rows = np.arange(len(seen.labels))
    own = seen.logits[:, rows, seen.labels]
    others = seen.logits.copy()
    others[:, rows, seen.labels] = -np.inf
    lead = own - others.max(axis=-1)
    found: Bits = lead > _slack(seen) if right else lead < -_slack(seen)
    return found


def _slack(seen: Predictions) -> NDArray[np.float32]:
    found: NDArray[np.float32] = NEARLY * (1 + np.abs(seen.logits).max(axis=-1))
    return found


def _unpacked(bits: NDArray[np.uint8], images: int) -> Bits:
    if bits.shape[-1] != -(-images // 8):  # numpy would put False for what is missing
        raise ValueError(f"is damaged (outcomes of {8 * bits.shape[-1]} images, expected {images})")
    return np.unpackbits(bits, axis=-1, count=images).view(np.bool_)


def _kept(head: TrainedHead) -> EpochOutcomes:
    assert head.outcomes is not None, "train with keep_outcomes"
    return head.outcomes


def _table(recipes: Sequence[Sequence[Sequence[TrainedHead]]], of: Callable[[TrainedHead], int]) -> NDArray[np.int64]:
    """`[T, S, F]` of a number of each head."""
    return np.array([[[of(h) for h in folds] for folds in seeds] for seeds in recipes], np.int64)
