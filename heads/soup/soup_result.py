"""What a soup came to: a run's result with its network, its honest figures, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.options import Options
from featcache.records import Split
from heads.combine import COMPARED, Answered, paired_difference
from heads.runs import Predictions, Result, split_figures
from heads.soup.averaged_network import AveragedNetwork
from heads.soup.greedy_soup import Choice
from heads.soup.shared_start import SPLITS, Member, record
from heads.soup.soup_text import sentences
from heads.training import TrainedHead


@dataclass(frozen=True, eq=False)
class Soup:
    """A choice of members, and what the network that holds their average answers: logits `[N, C]`."""

    choice: Choice
    val: NDArray[np.float32]
    test: NDArray[np.float32]
    network: AveragedNetwork


def soup_result(members: Sequence[Member], options: Options, soup: Soup) -> Result:
    """The result of a run of one head, its figures on val of choices that were made without the image."""
    answers: dict[Split, Predictions] = {
        "val": _answered(members[0], "val", soup.choice.held_out),
        "test": _answered(members[0], "test", soup.test),
    }
    answered = {split: Answered(seen) for split, seen in answers.items()}
    network, head = soup.network.state()
    taken = [members[one] for one in soup.choice.taken]
    kept = TrainedHead(taken[0].model.seed, state=head, normalise=options.head.normalise)
    told = _summary(members, options, soup, answered)
    comes_from = {(m.run.summary["from_run"], m.run.summary["from_inputs"]) for m in taken}
    from_run, from_inputs = comes_from.pop() if len(comes_from) == 1 else (None, None)
    seconds = sum(m.run.summary["head_seconds"] for m in taken)
    outcomes = {split: one.outcomes for split, one in answered.items()}
    return Result(
        [[kept]],
        answers,
        outcomes,
        0,
        0,
        seconds,
        network=network,
        from_run=from_run,
        from_inputs=from_inputs,
        soup=told,
        distillation=_taught([m.run.summary.get("distillation") for m in taken]),
    )


def _taught(lessons: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """What the members learned from: a soup of students is one, of every teacher that they had."""
    had = [lesson for lesson in lessons if lesson is not None]
    names = dict.fromkeys(str(lesson["teacher"]) for lesson in had)
    return {**had[0], "teacher": ", ".join(names)} if had else None


def _answered(member: Member, split: Split, logits: NDArray[np.float32]) -> Predictions:
    return replace(member.answers[split], logits=logits[None])


def _summary(
    members: Sequence[Member], options: Options, soup: Soup, answered: Mapping[Split, Answered]
) -> dict[str, Any]:
    """What is there of no other run."""
    own = [{split: Answered(m.answers[split]) for split in SPLITS} for m in members]
    figures = [{split: _figures(of[split]) for split in SPLITS} for of in own]
    best = min(range(len(members)), key=lambda one: _order(figures[one]["val"]))
    found: dict[str, Any] = {
        "members": [
            {**record(member, taken=number in soup.choice.taken), **_short(figures[number])}
            for number, member in enumerate(members)
        ],
        "kind": "greedy" if soup.choice.parts else "uniform",
        "chosen_by": options.training.selection_metric,
        "parts": soup.choice.parts,
        "found": _figures(Answered(_answered(members[0], "val", soup.val))),
        "batch_norms": soup.network.norms,
        "best_member": members[best].name,
        "ahead_of_best_member": {
            split: {m: paired_difference(answered[split], own[best][split], m) for m in COMPARED} for split in SPLITS
        },
    }
    found["said"] = sentences(found, {split: _figures(one) for split, one in answered.items()})
    return found


def _figures(one: Answered) -> dict[str, Any]:
    return split_figures(one.seen, one.outcomes)


def _short(figures: Mapping[Split, Any]) -> dict[str, Any]:
    return {split: {m: own[m] for m in COMPARED if m in own} for split, own in figures.items()}


def _order(val: Mapping[str, Any]) -> tuple[float, float]:
    return -val["top1"]["mean"], val["loss"]["mean"]
