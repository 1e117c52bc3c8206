"""Fine-tuned runs whose weights are to be averaged: what each keeps, and whether they began from one network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from featcache.counted_nouns import counted
from featcache.errors import RunError
from featcache.records import Manifest, Split, digest
from heads.combine import in_order_of
from heads.leaderboard import Ranking, rank_results
from heads.runs import Predictions, Run, RunModel, load_run_model, load_run_record, model_digest, predictions_of

SPLITS: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True, eq=False)
class Member:
    """A fine-tuned run: the network that it keeps, and what that one answered on val and test `[1, N, C]`."""

    run: Run
    place: str  # seen from the results folder
    digest: str  # the sha256 of its best_model.pth
    model: RunModel
    answers: Mapping[Split, Predictions]

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.run.folder.name

    @property
    def network(self) -> Mapping[str, Tensor]:
        """The weights and buffers of its backbone."""
        assert self.model.tuned is not None  # `_read` saw to it
        return self.model.tuned

    @property
    def head(self) -> Mapping[str, Tensor]:
        """Those of its head."""
        return self.model.head.state_dict()

    @property
    def start(self) -> dict[str, str]:
        """What its training began with, in words by what each is; equal for runs that share their start."""
        (identity,) = self.model.identities
        summary = self.run.summary
        sha = summary["inputs"].get("head")
        head = f"a fresh head of seed {self.model.seed}" if sha is None else f"the head {sha[:8]} of a Phase 1 run"
        return {
            "backbone": identity.backbone,
            # Of a run that went on from a fine-tuned one those that this had left.
            "weights it began with": summary["inputs"].get("network", identity.weights)[:16],
            "input": str(identity.as_dict()["preprocessing"]),
            "widths of the head": str(summary["classifier_dims"]),
            "head.normalise": str(summary["normalise"]),
            "head it began with": head,
        }


def read_members(folders: Sequence[Path], results_dir: Path) -> tuple[Member, ...]:
    """The runs in `folders`; raises RunError, with all that differs, where they share no start or no data."""
    read = [_read(folder, results_dir) for folder in dict.fromkeys(one.resolve() for one in folders)]
    first = read[0]
    faults = [fault for one in read[1:] for fault in _other_start(one, first)]
    if faults:
        raise RunError(
            "soup: these runs began from different networks, and between those lies none that works:\n"
            + "\n".join(f"- {fault}" for fault in faults)
            + "\nName runs that were fine-tuned from one start, such as several recipes or seeds from one Phase 1 run "
            "with its head (`featcache finetune CONFIG --from-run RUN`), or average what these say: `featcache "
            "combine`."
        )
    faults = [fault for one in read[1:] for fault in _other_images(one, first)]
    if faults:
        raise RunError("\n".join(["soup: these runs are not of one data set, cut in one way:", *faults]))
    return tuple(read)


def in_order_of_images(members: Sequence[Member], manifest: Manifest) -> tuple[Member, ...]:
    """Members with their answers in the order in which the data set has its images.

    Raises RunError where the data set has others by now.
    """
    first = members[0].run
    for split in SPLITS:
        there = Predictions.of(members[0].answers[split].logits, manifest.of(split))
        known = set(members[0].answers[split].keys)
        if manifest.fingerprint != first.summary["data"]["fingerprint"] or set(there.keys) != known:
            raise RunError(
                f"{first.folder}: was trained on other images than {manifest.root} holds now. A soup is judged, and "
                "its batch norms are estimated, on those of its members: bring them back, or train again."
            )
        members = [replace(m, answers={**m.answers, split: in_order_of(m.answers[split], there)}) for m in members]
    return tuple(members)


def best_of_one_start(results_dir: Path, count: int, ranking: Ranking) -> list[Path]:
    """The leaderboard's best `count` fine-tuned runs that began as the best of them did, soups and runs that were
    cross-validated aside.

    Raises RunError where there are fewer.
    """
    rows = [row for row in rank_results(results_dir, ranking).board.rows if row.phase == 2]
    tuned = [load_run_record(results_dir / row.run) for row in rows]
    tuned = [run for run in tuned if run.summary.get("soup") is None and not run.summary["data"]["folds"]]
    members = [_read(run.folder, results_dir) for run in tuned]
    found = [one for one in members if not _other_start(one, members[0])][:count]
    if len(found) < count:
        raise RunError(
            f"soup: {counted(len(found), 'fine-tuned run')} on the leaderboard of {results_dir} began as the best of "
            f"them did, and {count} are asked for. Fine-tune more from one run with its head (`featcache finetune "
            "CONFIG --from-run RUN`), or ask for fewer."
        )
    return [one.run.folder for one in found]


def _other_start(one: Member, first: Member) -> list[str]:
    mine, theirs = one.start, first.start
    return [
        f"{what}: {one.name} has {mine[what]}, and {first.name} {theirs[what]}"
        for what in mine
        if mine[what] != theirs[what]
    ]


def _other_images(one: Member, first: Member) -> list[str]:
    found = []
    if one.model.classes != first.model.classes:
        found.append(f"- {one.name} tells {one.model.classes} apart, and {first.name} {first.model.classes}")
    mine, theirs = (of.run.summary["data"] for of in (one, first))
    same = all(set(one.answers[s].keys) == set(first.answers[s].keys) for s in SPLITS)
    if mine["fingerprint"] != theirs["fingerprint"] or not same:
        found.append(f"- {one.name} is on other images than {first.name} ({mine['path']}, {theirs['path']})")
    return found


def _read(folder: Path, results_dir: Path) -> Member:
    run = load_run_record(folder)
    summary: dict[str, Any] = run.summary
    if summary["phase"] != 2 or summary.get("soup") is not None:
        is_soup = summary["phase"] == 2
        what = "a soup itself" if is_soup else f"a run of phase {summary['phase']}, whose backbone stayed as it was"
        then = "Name the runs that it was made of" if is_soup else "Fine-tune it (`featcache finetune`)"
        raise RunError(f"{folder}: is {what}. Expected a run that was fine-tuned end to end. {then}.")
    if summary["data"]["folds"]:
        raise RunError(
            f"{folder}: was cross-validated (data.folds), and what it keeps has trained on all of train and val: "
            "no images are left to choose a soup by. Train a run without data.folds, or combine what these say: "
            "`featcache combine`."
        )
    model = load_run_model(folder)
    if model.tuned is None or "inputs" not in summary or "normalise" not in summary:
        raise RunError(f"{folder}: was made by an earlier version of featcache. Train the run again.")
    place = [one["seed"] for one in summary["seeds"]].index(summary["best_seed"])
    answers = {split: _answered(folder, split, place) for split in SPLITS}
    where = os.path.relpath(folder, results_dir.resolve())
    return Member(run, where, model_digest(folder), model, answers)


def _answered(folder: Path, split: Split, place: int) -> Predictions:
    """What the network that is kept answered."""
    seen = predictions_of(folder, split)
    if seen is None or not len(seen.labels):
        raise RunError(f"{folder / 'predictions.npz'}: is damaged or holds no answers on {split}. Train the run again.")
    if not np.isfinite(seen.logits[place]).all():
        raise RunError(f"{folder}: its network gave no finite answer to some {split} images. Leave the run out.")
    return replace(seen, logits=seen.logits[place : place + 1])


def record(member: Member, *, taken: bool) -> dict[str, Any]:
    """What a soup's summary.json says of a member."""
    return {
        "run": member.place,
        "taken": taken,
        "seed": member.model.seed,
        "seeds": len(member.run.summary["seeds"]),
        "inputs": digest(member.run.summary["inputs"]),
        "model": member.digest,
    }
