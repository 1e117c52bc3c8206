"""A finished run becomes a folder that needs no featcache: made aside, loaded back, compared, then put in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featcache.errors import OptionsError, OutputError, WorkError
from featcache.session import Session
from heads.export.companion_files import write_companions, write_json
from heads.export.compared_images import images_to_compare
from heads.export.export_parity import Parity, compare
from heads.export.made_export import MadeExport
from heads.export.model_card import ModelCard
from heads.export.model_inputs import ModelInputs
from heads.export.onnx_file import write_onnx
from heads.export.opened_run import OpenedRun, failing_as, open_run
from heads.export.ranked_figure import corrected_text
from heads.export.request import ExportRequest
from heads.export.timm_folder import write_timm
from heads.export.torch_program import write_program
from heads.export.weights_folder import write_weights
from heads.runs import Run, cache_of, members_of, writing_folder

PARITY = "parity.json"  # in every export, by which one is known
ONE_NETWORK = ("safetensors", "timm")  # formats that a combination does not fit in
STEPS = ("network", "graph", "images", "parity")


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    folder: Path
    parity: Parity
    notes: tuple[str, ...]
    opset: int | None = None  # of ONNX


class _Job(NamedTuple):
    """What a format is made of."""

    run: OpenedRun
    inputs: ModelInputs
    request: ExportRequest
    folder: Path
    cache: Path


FORMATS: dict[str, Callable[[_Job], MadeExport]] = {
    "onnx": lambda job: write_onnx(job.run, job.inputs, job.request, job.folder, job.cache),
    "torch": lambda job: write_program(job.run, job.inputs, job.folder),
    "safetensors": lambda job: write_weights(job.run, job.inputs, job.folder),
    "timm": lambda job: write_timm(job.run, job.inputs, job.folder),
}


def export_run(record: Run, request: ExportRequest, session: Session, *, cache_dir: Path | None = None) -> Exported:
    """The export that is asked for. Images to compare on are found by `cache_dir`, by default where the run's features
    were kept.

    Raises OptionsError and OutputError for what makes no sense or would overwrite, RunError and WeightsError where the
    run is not whole, WorkError where the network cannot be exported or the export is not the run. Nothing is left then.
    """
    request.check()
    if request.to in ONE_NETWORK and members_of(record.summary, record.folder):
        raise OptionsError(
            f"--to {request.to}: holds the weights of one network with one head, and {record.folder.name} is a "
            "combination of runs. Use --to onnx or --to torch, which hold all of it in one graph, or export its "
            "members one by one."
        )
    out = request.folder(record.folder)
    require_room(out, request.overwrite)
    cache = cache_of(record) if cache_dir is None else cache_dir
    progress = session.progress
    progress.begin(f"{record.folder.name} to {request.to}", len(STEPS), "step")
    run = open_run(record, allow_custom=session.allow_custom)
    progress.advance(1)
    inputs = ModelInputs.of([part.preprocessing for part in run.parts], request.input_kind)
    with writing_folder(out, "an earlier export") as folder:
        with failing_as(run, f"--to {request.name}"):
            made = FORMATS[request.to](_Job(run, inputs, request, folder, cache))
        progress.advance(1)
        images = images_to_compare(run, request.images, cache)
        progress.advance(1)
        with failing_as(run, made.runtime):
            parity = compare(run.logits(images.pixels), images, inputs, made.run, made.runtime)
        limits = request.limits(run.exact)
        faults = parity.faults(limits)
        if faults:
            raise WorkError(
                f"{record.folder.name} to {request.name}: is not what the run is, on {parity.compared_on}: "
                f"{'; '.join(faults)}. Nothing is written."
            )
        write_companions(run, inputs, folder)
        write_json(folder / PARITY, {**parity.as_dict(limits), **made.facts, "precision": request.precision})
        ModelCard(run, inputs, request.to, made, parity, corrected_text(record)).write(folder)
        progress.advance(1)
    progress.end(f"{parity.agreement:.1%} agree")
    return Exported(out, parity, made.notes, made.facts.get("opset"))


def require_room(out: Path, overwrite: bool) -> None:
    """Raise OutputError where `out` is a file, or a folder with anything in it that may not go."""
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"--out {out}: is a file. Expected a folder that is empty or not there.")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{out}: is there already. Pass --overwrite to replace it, or name another place with --out.")
    if not (out / PARITY).is_file():
        raise OutputError(f"--out {out}: holds files and is no export (it has no {PARITY}). Name another place.")
