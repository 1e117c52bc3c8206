"""Phase 2: backbone and head trained end to end, the backbone unfrozen step by step."""

from heads.finetune.averaged_weights import average_weights, estimate_statistics, moved_norms
from heads.finetune.batch_inputs import Batch, DecodedInputs
from heads.finetune.distributed import processes
from heads.finetune.end_to_end import fine_tune, fine_tune_run, training_mode
from heads.finetune.evaluation import MicroBatches, evaluate_logits
from heads.finetune.forward_path import ForwardPath
from heads.finetune.recipe_trials import RecipeTrials, TriedRecipe, recipe_trials
from heads.finetune.training_images import make_training_images
from heads.finetune.tuning_plan import TuningPlan, plan_from_run, plan_top, require_sound
from heads.finetune.tuning_time import FineTuningTime, StageTime, time_fine_tuning
from heads.finetune.unfreezing import make_schedule

__all__ = [
    "Batch",
    "DecodedInputs",
    "FineTuningTime",
    "ForwardPath",
    "MicroBatches",
    "RecipeTrials",
    "StageTime",
    "TriedRecipe",
    "TuningPlan",
    "average_weights",
    "estimate_statistics",
    "evaluate_logits",
    "fine_tune",
    "fine_tune_run",
    "make_schedule",
    "make_training_images",
    "moved_norms",
    "plan_from_run",
    "plan_top",
    "processes",
    "recipe_trials",
    "require_sound",
    "time_fine_tuning",
    "training_mode",
]
