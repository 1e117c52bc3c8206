"""Finished runs: their folders under results/, what they say of themselves, their predictions, their models."""

from heads.runs.audited_runs import audit_runs, exclude_of
from heads.runs.leaked_images import leakage, leakage_line, warn_of_leakage
from heads.runs.loaded_run import load_run, normalisation_of
from heads.runs.predictions import Predictions, Probe, load_probe, predict_test, predict_val, predictions_of
from heads.runs.recipe_doubts import doubts_of
from heads.runs.result import Result, make_result
from heads.runs.run import Run, cache_of, finished_runs, load_run_record, same_run, unreadable_runs
from heads.runs.run_log import recording
from heads.runs.run_record import make_inputs, write_record
from heads.runs.run_writing import results_folder, run_folder, write_run

__all__ = [
    "Predictions",
    "Probe",
    "Result",
    "Run",
    "audit_runs",
    "cache_of",
    "doubts_of",
    "exclude_of",
    "finished_runs",
    "leakage",
    "leakage_line",
    "load_probe",
    "load_run",
    "load_run_record",
    "make_inputs",
    "make_result",
    "normalisation_of",
    "predict_test",
    "predict_val",
    "predictions_of",
    "recording",
    "results_folder",
    "run_folder",
    "same_run",
    "unreadable_runs",
    "warn_of_leakage",
    "write_record",
    "write_run",
]
