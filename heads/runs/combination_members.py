"""What a combination says of the finished runs that it is made of, and whether they are still the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.errors import RunError
from featcache.records import digest
from heads.runs.run import Run, load_run_record

MODEL_FILE = "best_model.pth"
COMBINED = 3  # the phase of a combination, after heads on cached features and networks that were fine-tuned


@dataclass(frozen=True)
class MemberRecord:
    """A run of a combination, as its summary.json has it."""

    run: str  # its folder, seen from the one that the combination's lies in
    backbone: str
    weight: float  # what its probabilities count; all of them together 1
    temperature: float  # that its logits are divided by first
    inputs: str  # a digest of what decided the run's result
    model: str  # the sha256 of its best_model.pth


def members_of(summary: dict[str, Any], folder: Path) -> tuple[MemberRecord, ...]:
    """Those of the combination in `folder`; none of a run that is none. Raises RunError where they cannot be read."""
    if summary.get("combination") is None:
        return ()
    names = MemberRecord.__dataclass_fields__
    try:
        found = tuple(MemberRecord(**{n: one[n] for n in names}) for one in summary["combination"]["members"])
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{folder / 'summary.json'}: does not say what runs it is made of ({error!r}). Make it again: `featcache "
            "combine`."
        ) from None
    return found


def member_folder(folder: Path, member: MemberRecord) -> Path:
    """Where a member of the combination in `folder` lies."""
    return folder.resolve().parent / member.run


def stale_reason(run: Run) -> str:
    """Why a combination no longer holds; "" of one whose members are what they were, and of any other run."""
    for member in members_of(run.summary, run.folder):
        try:
            seen = load_run_record(member_folder(run.folder, member))
        except RunError:
            return f"{member.run} is no finished run any more"
        if digest(seen.summary.get("inputs")) != member.inputs:
            return f"{member.run} was trained again, with other options or on other features"
    return ""


def require_fresh(run: Run) -> None:
    """Raise RunError where a member that counts is not the run, with the weights, that was combined."""
    reason = stale_reason(run)
    for member in members_of(run.summary, run.folder):
        if not reason and member.weight and model_digest(member_folder(run.folder, member)) != member.model:
            reason = f"{member.run} has other weights in its {MODEL_FILE}"
    if reason:
        names = " ".join(member.run for member in members_of(run.summary, run.folder))
        raise RunError(
            f"{run.folder}: is a combination of runs that have changed: {reason}. Its figures are of what they were. "
            f"Make it again: featcache combine {names} --name {run.folder.name}."
        )


def model_digest(folder: Path) -> str:
    """The sha256 (hex) of a run's best_model.pth; raises RunError where there is none."""
    try:
        with (folder / MODEL_FILE).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{folder / MODEL_FILE}: cannot be read ({error}). Train the run again.") from None
