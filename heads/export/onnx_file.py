"""A run as an ONNX file, in float32, float16 or int8, loaded back in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.errors import InputError, OptionsError
from heads.export.compared_images import NAMED, ComparedImages, images_of_run
from heads.export.deployed_model import OUTPUTS
from heads.export.made_export import MadeExport
from heads.export.model_inputs import Batch, ModelInputs
from heads.export.onnx_precision import to_float16, to_int8
from heads.export.opened_run import OpenedRun, failing_as
from heads.export.request import ExportRequest
from heads.export.tracing import trace

FILE = "model.onnx"
CALIBRATED_ON = 200  # training images of int8
LARGE = 1_800_000_000  # bytes of weights; from 2 GiB on protobuf cannot hold them, and they lie beside the file

USAGE = """
import onnxruntime
from preprocess import batch_of

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
names = [one.name for one in session.get_inputs()]
logits, probabilities = session.run(None, dict(zip(names, batch_of(["a.jpg", "b.jpg"]))))
"""


def write_onnx(run: OpenedRun, inputs: ModelInputs, request: ExportRequest, folder: Path, cache: Path) -> MadeExport:
    """`model.onnx` in `folder`, loaded back. Raises InputError where int8 finds no image to be calibrated on, WorkError
    where there is no such graph."""
    calibration = _calibration(run, cache) if request.precision == "int8" else None
    write_float32(run, inputs, request.opset, folder / FILE)
    facts: dict[str, Any] = {}
    with failing_as(run, "onnxruntime"):
        if request.precision == "float16":
            to_float16(folder / FILE)
        if calibration is not None:
            to_int8(folder / FILE, inputs, calibration)
            facts["calibrated_on"] = calibration.what
        session = open_session(folder / FILE)

    def logits(batch: Batch) -> NDArray[np.generic]:
        found: NDArray[np.generic] = session.run([OUTPUTS[0]], dict(zip(inputs.names, batch, strict=True)))[0]
        return found

    import onnxruntime

    facts = {"opset": opset_of(folder / FILE), **facts}
    return MadeExport(logits, f"onnxruntime {onnxruntime.__version__} on the CPU", facts, usage=USAGE)


def write_float32(run: OpenedRun, inputs: ModelInputs, opset: int | None, file: Path) -> None:
    """The ONNX file `file`; raises WorkError where there is no such graph."""
    program = trace(run, inputs)
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    with failing_as(run, "torch.onnx"):
        made: Any = torch.onnx.export(
            program,
            dynamo=True,
            input_names=inputs.names,
            output_names=list(OUTPUTS),
            opset_version=opset,
            verbose=False,
        )
        made.save(file, external_data=size > LARGE)
    if opset is not None and opset_of(file) != opset:
        raise OptionsError(
            f"--opset {opset}: torch's exporter wrote {opset_of(file)}, since it knows no way from there to {opset}. "
            "Leave --opset out, or name one that it knows."
        )


def _calibration(run: OpenedRun, cache: Path) -> ComparedImages:
    found = images_of_run(run, "train", CALIBRATED_ON, cache)
    if isinstance(found, ComparedImages):
        return found
    raise InputError(
        f"--precision int8 is calibrated on {NAMED['train']} images of the run, and none can be had: {found}. Bring "
        "them back, name a cache that moved with --cache-dir, or choose float16."
    )


def open_session(file: Path) -> Any:
    """The file in onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; what it thinks of the graph's making is nobody's business here
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def opset_of(file: Path) -> int:
    """The version of the operators that the file is written in."""
    import onnx

    model: Any = onnx.load(str(file), load_external_data=False)
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))
