"""`distill_model`: a fast network learns from what a finished run or a combination answers, and is set beside both."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from featcache.errors import OptionsError, RunError
from featcache.options import MAX_NAME, Options, apply_overrides, load_options, of_heads_alone, parse_options, read_json
from featcache.session import Session, SessionKeywords
from heads.combine import Answered, in_order_of, paired_difference
from heads.experiment import train_run
from heads.finetune import fine_tune_run, plan_from_run
from heads.runs import Run, finished_runs, is_student, load_run_record, members_of, predictions_of

log = logging.getLogger("featcache")

SUFFIX, ALONE = "-distilled", "-alone"  # of runs' names
SPLITS = ("val", "test")
NO_NAME = re.compile(r"^\.+|[^\w.+-]+")  # what a backbone may be called by, and a folder not


@dataclass(frozen=True)
class DistillPlan:
    """What `distill` is to do."""

    teacher: Path  # the folder of a run or a combination
    student: str  # a backbone, or the folder of a run of heads on cached features, whose options are taken
    distillation: dict[str, Any] = field(default_factory=dict)  # temperature, weight, out_of_fold, unlabelled
    config: str | None = None  # an options file whose `training`, `head` and augmentations are taken
    end_to_end: bool = False  # by configs/phase2.json where the config has no schedule
    name: str | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Distilled:
    """A student beside its teacher, and beside the best run of the same backbone that had none."""

    run: Run
    teacher: Run
    alone: Run

    @property
    def differences(self) -> dict[str, dict[str, dict[str, float]]]:
        """By how much the student's top-1 is ahead of "alone" and of "teacher", by split, with its 95% interval, which
        is paired: of the same images."""
        others = {"alone": self.alone, "teacher": self.teacher}
        return {n: {split: _ahead(self.run, other, split) for split in SPLITS} for n, other in others.items()}

    @property
    def sentences(self) -> list[str]:
        """What came of it, for people: first the answer to how accurate the fast network has become."""
        return [*(_answer(self, split) for split in SPLITS), *self._compared()]

    def _compared(self) -> list[str]:
        found = []
        for other, by_split in self.differences.items():
            told = "; ".join(
                f"{split} {one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" for split, one in by_split.items()
            )
            what = "its own best" if other == "alone" else "the teacher"
            apart = [s for s, one in by_split.items() if one["low"] > 0 or one["high"] < 0]
            tail = "" if apart else " (intervals that hold 0 tell nothing apart)"
            found.append(f"Top-1 beside {what}, of the same images: {told}{tail}.")
        return found


def distill_model(
    teacher: str | Path,
    student: str | Path,
    *,
    config: str | None = None,
    end_to_end: bool = False,
    name: str | None = None,
    distillation: dict[str, Any] | None = None,
    overrides: tuple[str, ...] = (),
    **session: Unpack[SessionKeywords],
) -> Distilled:
    """Train `student`, a backbone's name or the folder of a Phase 1 run, on what the run in `teacher` answers (Hinton,
    Vinyals and Dean 2015); `distillation` holds further options of `training.distillation`.

    First a head on cached features; with `end_to_end`, or a `config` with an `unfreeze_schedule`, then the whole
    network, beginning with that head. Further keywords: `featcache.session.SessionKeywords`. Raises RunError for a
    teacher of other images or classes, or one that was cross-validated.
    """
    plan = DistillPlan(Path(teacher), str(student), distillation or {}, config, end_to_end, name, overrides)
    return distill_run(plan, Session.begin(**session))


def distill_run(plan: DistillPlan, session: Session) -> Distilled:
    """`distill_model` within a session."""
    teacher = load_run_record(plan.teacher)
    base = _student_options(plan, teacher, session.results_dir)
    schedule = _whole(plan)
    taught = _taught(base, plan)
    run = train_run(taught, session)
    if schedule:
        file = plan.config if _has_schedule(plan.config) else None
        asked = json.dumps(taught.as_dict()["training"]["distillation"])
        more = [*plan.overrides, f"training.distillation={asked}"]
        run = fine_tune_run(plan_from_run(run.folder, config=file, overrides=more), session)
    # Last: a teacher that may not teach is refused before anything is trained.
    found = Distilled(run, teacher, _alone(base, teacher, schedule, session))
    for line in found.sentences:
        log.info("%s", line)
    return found


def _student_options(plan: DistillPlan, teacher: Run, results_dir: Path) -> Options:
    """The options of the student without its teacher: those of the run that is named, of the best run of the backbone
    on the teacher's images, or else the teacher's with another backbone."""
    folder = Path(plan.student)
    if not (folder / "summary.json").is_file():
        known = [r for r in _own_runs(teacher, plan.student, results_dir) if r.summary["phase"] == 1]
        if known:
            folder = max(known, key=_goodness).folder
    if (folder / "summary.json").is_file():
        if load_run_record(folder).summary["phase"] != 1:
            raise RunError(
                f"{folder}: the student is to be a run of heads on cached features, or the name of a backbone; "
                "--end-to-end trains the whole network afterwards."
            )
        document = load_options(folder / "options.json").as_dict()
    else:
        first = next((m for m in members_of(teacher.summary, teacher.folder) if m.weight > 0), None)
        own = teacher.folder if first is None else teacher.folder.resolve().parent / first.run
        document = load_options(own / "options.json").as_dict()
        document["model"] |= {"backbone": plan.student, "weights": None, "source": "auto", "input_size": None}
        document["model"]["classifier_dims"] = ["auto", *document["model"]["classifier_dims"][1:]]
        document["experiment_name"] = NO_NAME.sub("-", plan.student)[:MAX_NAME]  # package:function, hf-hub:timm/..
    document["training"] = of_heads_alone(document["training"])  # a teacher's may be of its whole network
    if plan.config is not None and not _has_schedule(plan.config):
        given = read_json(Path(plan.config))
        document |= {section: given[section] for section in ("training", "head") if section in given}
        document["data"] |= {k: given["data"][k] for k in ("augmentations", "views") if k in given.get("data", {})}
    document["training"] |= {"distillation": None}
    apply_overrides(document, [one for one in plan.overrides if not (_whole(plan) and _of_phase2(one))])
    return parse_options(document, f"the student {plan.student}")


def _whole(plan: DistillPlan) -> bool:
    """Whether the whole network is to be trained after its head."""
    return plan.end_to_end or _has_schedule(plan.config)


def _of_phase2(override: str) -> bool:
    """Then what is set of training is of the whole network's; the head keeps its run's recipe."""
    return override.startswith("training.")


def _taught(base: Options, plan: DistillPlan) -> Options:
    document = base.as_dict()
    document["experiment_name"] = plan.name or base.experiment_name[: MAX_NAME - len(SUFFIX)] + SUFFIX
    document["training"]["distillation"] = {"teacher": str(plan.teacher), **plan.distillation}
    return parse_options(document, "distill")


def _alone(base: Options, teacher: Run, schedule: bool, session: Session) -> Run:
    """The best run of the student's backbone that learned from labels alone; trained now where there is none."""
    known = [
        run
        for run in _own_runs(teacher, base.model.backbone, session.results_dir)
        if run.summary["phase"] == 1 or schedule
    ]
    if known:
        return max(known, key=_goodness)
    name = base.experiment_name
    if (session.results_dir / name).exists():
        name = name[: MAX_NAME - len(ALONE)] + ALONE
    return train_run(base.model_copy(update={"experiment_name": name}), session)


def _own_runs(teacher: Run, backbone: str, results_dir: Path) -> list[Run]:
    """Finished runs of a backbone on the teacher's images, without a teacher."""
    runs = {run.folder.name: run for run in finished_runs(results_dir)}
    return [
        run
        for run in runs.values()
        if run.summary["backbone"] == backbone
        and run.summary["data"]["fingerprint"] == teacher.summary["data"]["fingerprint"]
        and run.summary["data"]["folds"] is None
        and run.summary.get("combination") is None
        and not _was_taught(run, runs)
    ]


def _was_taught(run: Run, runs: Mapping[str, Run]) -> bool:
    """Whether it had a teacher, or the run that it went on from had, or one whose weights it averages."""
    if is_student(run):
        return True
    soup = (run.summary.get("soup") or {"members": []})["members"]
    before = [run.summary.get("from_run"), *(one["run"] for one in soup if one["taken"])]
    others = {name: one for name, one in runs.items() if name != run.folder.name}
    return any(_was_taught(others[name], others) for name in before if name in others)


def _goodness(run: Run) -> tuple[float, float]:
    return run.metrics["val_top1"], -run.metrics["val_loss"]


def _has_schedule(config: str | None) -> bool:
    if config is None:
        return False
    training = read_json(Path(config)).get("training", {})
    if not isinstance(training, dict):
        raise OptionsError(f"{config}: training is not a section of the options.")
    return training.get("unfreeze_schedule") is not None


def _answer(found: Distilled, split: str) -> str:
    one, own, teacher = (run.summary[split]["top1"] for run in (found.run, found.alone, found.teacher))
    ms, slow = (run.performance["latency_ms"]["mean"] for run in (found.run, found.teacher))
    name = {"val": "validation", "test": "test"}[split]
    low, high = one["ci95"]
    return (
        f"{found.run.summary['backbone']} at {ms:.1f} ms reaches {one['mean']:.3f} [{low:.3f}, {high:.3f}] on {name} "
        f"({one['n']} images), its own best was {own['mean']:.3f} ({found.alone.folder.name}), the teacher's "
        f"{teacher['mean']:.3f} at {slow:.1f} ms{_conditions(found)}."
    )


def _conditions(found: Distilled) -> str:
    told = {(r.performance["device"], r.performance["precision"]) for r in (found.run, found.teacher)}
    return "" if len(told) == 1 else ", measured under other conditions"


def _ahead(run: Run, other: Run, split: str) -> dict[str, float]:
    one, two = (predictions_of(of.folder, split) for of in (run, other))  # type: ignore[arg-type]
    if one is None or two is None:
        raise RunError(f"{run.folder} or {other.folder}: predictions.npz is missing or damaged. Train the run again.")
    return paired_difference(Answered(one), Answered(in_order_of(two, one)), "top1")
