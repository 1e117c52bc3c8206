"""Finished runs: their folders under results/, what they say of themselves, their predictions, their models."""

from heads.runs.audited_runs import audit_runs, data_options_of, exclude_of, groups_of
from heads.runs.calibration import Calibration, calibrate, calibration_of
from heads.runs.combination_members import (
    COMBINED,
    MemberRecord,
    member_folder,
    members_of,
    model_digest,
    stale_reason,
)
from heads.runs.combined_model import CombinedHead
from heads.runs.leaked_images import (
    group_leakage,
    leakage,
    leakage_lines,
    leaks_by_content,
    leaks_of,
    warn_of_leakage,
)
from heads.runs.loaded_run import LoadedRun, load_run, load_run_model
from heads.runs.predictions import (
    Predictions,
    Probe,
    arrays_of,
    load_probe,
    predict_test,
    predict_val,
    predictions_of,
    save_predictions,
    val_records,
)
from heads.runs.recipe_doubts import doubts_of, with_tuning
from heads.runs.remembered_images import images_of, manifest_of
from heads.runs.result import Result, make_result
from heads.runs.run import (
    Run,
    cache_of,
    finished_runs,
    is_student,
    is_tuned,
    load_run_record,
    same_run,
    unreadable_runs,
)
from heads.runs.run_files import write_json
from heads.runs.run_log import recording
from heads.runs.run_model import RunModel, normalisation_of, read_checkpoint
from heads.runs.run_record import make_inputs, write_record
from heads.runs.run_writing import EXPORT, results_folder, run_folder, write_run, writing_folder
from heads.runs.searched_recipe import SearchedRecipe, searched_recipe, write_searched
from heads.runs.split_figures import split_figures, split_scores
from heads.runs.val_outcomes import (
    PARTS_VERSION,
    OtherRunError,
    ValOutcomes,
    checked_outcomes,
    load_val_outcomes,
    outcomes_of_heads,
    save_val_outcomes,
    val_outcomes,
    val_outcomes_of,
)

__all__ = [
    "COMBINED",
    "EXPORT",
    "PARTS_VERSION",
    "Calibration",
    "CombinedHead",
    "LoadedRun",
    "MemberRecord",
    "OtherRunError",
    "Predictions",
    "Probe",
    "Result",
    "Run",
    "RunModel",
    "SearchedRecipe",
    "ValOutcomes",
    "arrays_of",
    "audit_runs",
    "cache_of",
    "calibrate",
    "calibration_of",
    "checked_outcomes",
    "data_options_of",
    "doubts_of",
    "exclude_of",
    "finished_runs",
    "group_leakage",
    "groups_of",
    "images_of",
    "is_student",
    "is_tuned",
    "leakage",
    "leakage_lines",
    "leaks_by_content",
    "leaks_of",
    "load_probe",
    "load_run",
    "load_run_model",
    "load_run_record",
    "load_val_outcomes",
    "make_inputs",
    "make_result",
    "manifest_of",
    "member_folder",
    "members_of",
    "model_digest",
    "normalisation_of",
    "outcomes_of_heads",
    "predict_test",
    "predict_val",
    "predictions_of",
    "read_checkpoint",
    "recording",
    "results_folder",
    "run_folder",
    "same_run",
    "save_predictions",
    "save_val_outcomes",
    "searched_recipe",
    "split_figures",
    "split_scores",
    "stale_reason",
    "unreadable_runs",
    "val_outcomes",
    "val_outcomes_of",
    "val_records",
    "warn_of_leakage",
    "with_tuning",
    "write_json",
    "write_record",
    "write_run",
    "write_searched",
    "writing_folder",
]
