"""The model of a finished run, for images wherever they are: what each of them is, how sure, and how usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from featcache.data import Task, UnreadableImageError
from featcache.devices import products_in
from featcache.places import head_and_sha256
from featcache.session import Session
from heads.predict.asked_images import AskedImage
from heads.predict.part_features import PartFeatures
from heads.predict.training_space import TrainingSpace
from heads.runs import Calibration, RunModel

AT_ONCE = 2048  # images, whose features are in memory together
PIECE = 8  # of them, that go through the head together


@dataclass(frozen=True, eq=False)
class Prediction:
    """What an image is: probabilities `[C]`, and `as_far`, the share of validation images at least as far from the
    training ones; or the `reason` why it cannot be read."""

    image: AskedImage
    sha256: str = ""  # of its bytes
    probabilities: NDArray[np.float64] | None = None
    features: NDArray[np.float32] | None = None  # [F]
    as_far: float | None = None  # None where no training images are at hand
    reason: str = ""


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image on its way: what each backbone needs of it, pixels `[3, S, S]` or the task of looking up its row; or
    the `reason` why it cannot be read."""

    image: AskedImage
    sha256: str = ""
    inputs: tuple[Task | Tensor, ...] = ()
    reason: str = ""


class _Content(NamedTuple):
    """What the bytes of an image are called, or why there are none."""

    sha256: str
    reason: str = ""


class Predictor:
    """Images in, predictions out; made once, used for any number of images."""

    def __init__(
        self,
        model: RunModel,
        parts: Sequence[PartFeatures],
        session: Session,
        *,
        calibration: Calibration | None,
        space: TrainingSpace | None,
    ) -> None:
        self.name, self.classes = model.folder.name, model.classes
        self.calibration, self.space = calibration, space
        self._parts, self._session = parts, session
        self._workers = model.options.data.workers or None
        self._head = model.head.to(session.device)

    def predict(self, images: Sequence[AskedImage]) -> Iterator[Prediction]:
        """Each image, in their order; of those that cannot be read the reason. Equal contents are computed once."""
        progress = self._session.progress
        progress.begin(self.name, len(images), "img")
        bad = 0
        with ThreadPoolExecutor(self._workers) as pool:
            for start in range(0, len(images), AT_ONCE):
                block = images[start : start + AT_ONCE]
                for one in self._block(block, list(pool.map(_content, block, chunksize=16))):
                    bad += bool(one.reason)
                    yield one
        progress.end(f"{len(images) - bad} predicted, {bad} unreadable")

    def warm_up(self) -> None:
        """Do now what the first image would wait for; before any use of `prepare`."""
        for part in self._parts:
            part.warm_up()
        if self.space is not None:
            self.space.shares_as_far(self.space.train[:1].cpu().numpy())

    def prepare(self, image: AskedImage) -> PreparedImage:
        """The first half of predicting one image, which many threads may do at once: reading and decoding it."""
        content = _content(image)
        if content.reason:
            return PreparedImage(image, reason=content.reason)
        task = Task(content.sha256, image.place, (0,))
        try:
            return PreparedImage(image, content.sha256, tuple(part.input_of(task) for part in self._parts))
        except UnreadableImageError as error:
            return PreparedImage(image, content.sha256, reason=str(error))

    def predict_prepared(self, prepared: Sequence[PreparedImage]) -> list[Prediction]:
        """The second half, by one thread at a time: all of them through the network together, the answers in their
        order. What is beside an image changes nothing in its answer."""
        read = {one.sha256: one for one in prepared if not one.reason}
        if read:
            columns = [part.features([o.inputs[n] for o in read.values()]) for n, part in enumerate(self._parts)]
            rows = dict(zip(read, np.concatenate(columns, axis=1), strict=True))
            predicted = self._predicted(rows, {sha256: one.image for sha256, one in read.items()})
        return [
            Prediction(one.image, one.sha256, reason=one.reason)
            if one.reason
            else replace(predicted[one.sha256], image=one.image)
            for one in prepared
        ]

    def _block(self, images: Sequence[AskedImage], contents: Sequence[_Content]) -> Iterator[Prediction]:
        named = {c.sha256: i for i, c in zip(images, contents, strict=True) if not c.reason}
        self._session.progress.advance(len(images) - len(named))
        tasks = [Task(sha256, image.place, (0,)) for sha256, image in named.items()]
        unread: dict[str, str] = {}
        predicted = self._predicted(self._features(tasks, unread), named)
        for image, content in zip(images, contents, strict=True):
            if content.sha256 in predicted:
                yield replace(predicted[content.sha256], image=image)
            else:
                yield Prediction(image, reason=content.reason or unread[content.sha256])

    def _features(self, tasks: Sequence[Task], unread: dict[str, str]) -> dict[str, NDArray[np.float32]]:
        """Of each content that can be read `[F]`, what all backbones give; why others cannot goes to `unread`."""
        columns: list[Mapping[str, NDArray[np.float32]]] = []
        for part in self._parts:
            advance = self._session.progress.advance if part is self._parts[-1] else _say_nothing
            columns.append(_part(part, [t for t in tasks if t.sha256 not in unread], unread, advance))
        return {t.sha256: np.concatenate([c[t.sha256] for c in columns]) for t in tasks if t.sha256 not in unread}

    def _predicted(
        self, rows: Mapping[str, NDArray[np.float32]], named: Mapping[str, AskedImage]
    ) -> dict[str, Prediction]:
        if not rows:
            return {}
        features = np.stack(list(rows.values()))
        logits = _by_pieces(features, self._logits)
        temperature = 1.0 if self.calibration is None else self.calibration.temperature
        probabilities = softmax(logits / temperature, axis=1)
        shares = [None] * len(rows) if self.space is None else _by_pieces(features, self.space.shares_as_far).tolist()
        return {
            sha256: Prediction(named[sha256], sha256, probabilities[n], features[n], shares[n])
            for n, sha256 in enumerate(rows)
        }

    def _logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        x = torch.from_numpy(features).to(self._session.device)
        with torch.inference_mode(), products_in("float32", x.device):
            logits: NDArray[np.float64] = self._head(x).double().cpu().numpy()
        return logits


def _by_pieces(
    rows: NDArray[np.float32], compute: Callable[[NDArray[np.float32]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What `compute` makes of rows, always of as many at once, the last ones filled up with repeats: a product of
    matrices rounds otherwise when it has another shape, and an answer must not depend on how many are asked for."""
    found = []
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        filled = np.concatenate([piece, np.repeat(piece[:1], PIECE - len(piece), axis=0)])
        found.append(compute(filled)[: len(piece)])
    return np.concatenate(found)


def _part(
    part: PartFeatures, tasks: Sequence[Task], unread: dict[str, str], advance: Callable[[int], None]
) -> Mapping[str, NDArray[np.float32]]:
    known = part.known([task.sha256 for task in tasks])
    advance(len(known))
    missing = [task for task in tasks if task.sha256 not in known]
    return {**known, **part.compute(missing, unread, advance)} if missing else known


def _content(image: AskedImage) -> _Content:
    try:
        return _Content(head_and_sha256(image.place, 0)[1])
    except OSError as error:
        return _Content("", error.strerror or str(error))


def _say_nothing(steps: int) -> None:
    """Of all backbones but the last, so that each image counts once."""
