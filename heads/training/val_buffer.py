"""What the heads of a stack give on their validation images in one epoch: who is right, metrics of the whole split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from heads.training.epoch_outcomes import TOPS, Seen
from heads.training.features import Features
from heads.training.head_spec import HeadSpec
from heads.training.metrics import find_metric
from heads.training.split_metric_parts import PARTS
from heads.training.whole_split_metrics import class_dtype, predicted_classes


def whole_metrics(head: HeadSpec, also: Sequence[str] = ()) -> tuple[str, ...]:
    """The metrics of the whole split that a head is to be judged by: the one that chooses its epoch, and others."""
    own = find_metric(head.training.selection_metric)
    return tuple(dict.fromkeys([*([own.name] if own.whole else []), *also]))


class ValBuffer:
    """One epoch of the heads of a stack; each epoch overwrites the one before.

    Blocks and pieces come in any order: each outcome has its seat, its image's place in its head's fold. Logits are
    held where a metric of the whole split is asked for; answers always, so that such a metric can be had of any epoch.
    """

    def __init__(
        self, features: Features, heads: Sequence[HeadSpec], *, keep_outcomes: bool, also: Sequence[str] = ()
    ) -> None:
        device, folds = features.device, features.folds
        self._folds = [h.fold for h in heads]
        self._labels = [torch.from_numpy(features.labels[f.val]).to(device) for f in folds]
        self.width = max(len(f.val) for f in folds)  # the seat behind the last takes what only fills a row up
        kept = len(heads) if keep_outcomes else 0
        self._tops = torch.zeros(kept, 2, self.width + 1, dtype=torch.bool, device=device)
        self._loss = torch.zeros(kept, self.width + 1, device=device)
        self._chosen = [find_metric(h.training.selection_metric) for h in heads]
        self._valued = [k for k, m in enumerate(self._chosen) if m.name not in TOPS and kept]
        self._values = torch.zeros(kept if self._valued else 0, self.width + 1, device=device)
        single = [(self._chosen[k], k) for k in self._valued if not self._chosen[k].whole]
        self._single = {
            m.name: (-1.0 + 2.0 * m.larger_is_better, torch.tensor([k for n, k in single if n is m], device=device))
            for m, _ in single
        }
        self._whole = [whole_metrics(h, also) for h in heads]
        self._further = {n: torch.zeros(kept, self.width + 1, device=device) for n in also} if kept else {}
        self._answers = torch.zeros(kept, self.width + 1, dtype=class_dtype(heads[0].dims[-1]), device=device)
        self._asking = [k for k, names in enumerate(self._whole) if names]
        self._rows = torch.tensor(self._asking, dtype=torch.int64, device=device)
        self._logits = torch.zeros(len(self._asking), self.width + 1, heads[0].dims[-1], device=device)

    def add(self, seats: Tensor, logits: Tensor, found: Mapping[str, Tensor]) -> None:
        """Take logits `[K, n, C]` and metrics `[K, n]` of some images; `seats` `[K or 1, n]`."""
        seats = seats.expand(len(logits), -1)
        if len(self._tops):
            tops = torch.stack([found[name].bool() for name in TOPS], dim=1)
            self._tops.scatter_(2, seats[:, None].expand_as(tops), tops)
            self._loss.scatter_(1, seats, found["loss"].float())
            self._answers.scatter_(1, seats, predicted_classes(logits).to(self._answers.dtype))
        if self._asking:
            own = logits[self._rows]
            self._logits.scatter_(1, seats[self._rows][..., None].expand_as(own), own)
        for name, (sign, rows) in self._single.items():
            values = self._values[rows].scatter(1, seats[rows], sign * found[name][rows].float())
            self._values.index_copy_(0, rows, values)

    def whole(self) -> list[dict[str, float]]:
        """Of each head the metrics of the whole split that it is asked for, on its own fold."""
        found: list[dict[str, float]] = [{} for _ in self._folds]
        for name, fold in dict.fromkeys((n, self._folds[k]) for k in self._asking for n in self._whole[k]):
            rows = [k for k in self._asking if self._folds[k] == fold and name in self._whole[k]]
            metric, labels = find_metric(name), self._labels[fold]
            logits = self._logits[[self._asking.index(k) for k in rows], : len(labels)]
            every = labels.expand(len(rows), -1)
            values = PARTS[name](logits, every) if name in PARTS else metric.values(logits, every)
            for k, own, mean in zip(rows, values, values.double().mean(dim=1).tolist(), strict=True):
                found[k][name] = mean
                if k in self._valued and self._chosen[k] is metric:
                    self._values[k, : len(labels)] = own if metric.larger_is_better else -own
                if name in self._further:
                    self._further[name][k, : len(labels)] = own if metric.larger_is_better else -own
        return found

    def outcomes(self) -> list[Seen]:
        """Of each head what `EpochOutcomes.add` takes; after `whole`."""
        tops, values, loss = (a.cpu().numpy() for a in (self._tops, self._values, self._loss))
        answers = self._answers.cpu().numpy()
        further = {name: a.cpu().numpy() for name, a in self._further.items()}
        counts = [len(self._labels[fold]) for fold in self._folds]
        return [
            Seen(
                tops[k, :, :n],
                loss[k, :n],
                answers[k, :n].copy(),
                values[k, :n].copy() if k in self._valued else None,
                {name: own[k, :n] for name, own in further.items()},
            )
            for k, n in enumerate(counts)
        ]
