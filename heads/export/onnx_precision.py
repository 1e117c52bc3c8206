"""An ONNX file of float32 becomes one of float16 or int8, by onnxruntime's own converters."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heads.export.compared_images import ComparedImages
from heads.export.model_inputs import Batch, ModelInputs

AT_ONCE = 8  # images of a calibrating batch
HEAD = "head."  # what the names of the head's weights begin with, as torch's exporter keeps them
QUANTISED = ("Conv", "Gemm", "MatMul")  # where the time goes


def to_float16(file: Path) -> None:
    """Weights and arithmetic in float16; inputs and outputs stay float32 (or uint8)."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of every weight that is rounded to zero
        onnx.save(convert_float_to_float16(onnx.load(str(file)), keep_io_types=True), str(file))


def to_int8(file: Path, inputs: ModelInputs, images: ComparedImages) -> None:
    """Weights in int8 by output channel, activations in int8 by the range that they have on `images` (QDQ format).

    The head stays float32: it is a thousandth of the work, and what it rounds nothing after it averages out.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        prepared = str(Path(scratch) / "prepared.onnx")
        quant_pre_process(str(file), prepared, skip_symbolic_shape=True)
        graph: Any = onnx.load(prepared, load_external_data=False).graph
        head = [node.name for node in graph.node if any(name.startswith(HEAD) for name in node.input)]
        quantize_static(
            prepared,
            str(file),
            _reader(inputs, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=head,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )


def _reader(inputs: ModelInputs, images: ComparedImages) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # of a library without types
        """Batches of the images, one after the other."""

        def __init__(self) -> None:
            self._batches = _batches(inputs, images)

        def get_next(self) -> dict[str, Any] | None:
            """The next batch by the names of its inputs; None after the last."""
            batch = next(self._batches, None)
            return None if batch is None else dict(zip(inputs.names, batch, strict=True))

    return Reader()


def _batches(inputs: ModelInputs, images: ComparedImages) -> Iterator[Batch]:
    """Whole batches alone: onnxruntime stacks what they give."""
    size = min(AT_ONCE, len(images))
    for start in range(0, len(images) - size + 1, size):
        yield inputs.batch(images.pixels, start, start + size)
