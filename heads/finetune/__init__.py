"""Phase 2: backbone and head trained end to end, the backbone unfrozen step by step."""

from heads.finetune.distributed import processes
from heads.finetune.end_to_end import fine_tune, fine_tune_run
from heads.finetune.tuning_plan import TuningPlan, plan_from_run, plan_top, require_sound
from heads.finetune.unfreezing import make_schedule

__all__ = [
    "TuningPlan",
    "fine_tune",
    "fine_tune_run",
    "make_schedule",
    "plan_from_run",
    "plan_top",
    "processes",
    "require_sound",
]
