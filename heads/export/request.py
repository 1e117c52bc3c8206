"""What is asked of an export, checked before any work: the format, what goes in, how exact it must be."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from featcache.errors import InputError, OptionsError
from heads.runs import EXPORT

Format = Literal["onnx", "torch", "safetensors", "timm"]
Input = Literal["uint8", "normalised"]
Precision = Literal["float32", "float16", "int8"]

FORMATS: tuple[Format, ...] = get_args(Format)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# What an image is where --input does not say: graphs normalise by themselves, modules are used by who does it outside.
USUAL_INPUT: dict[Format, Input] = {
    "onnx": "uint8",
    "torch": "uint8",
    "safetensors": "normalised",
    "timm": "normalised",
}
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}  # beside what featcache always needs
LEAST_OPSET = 18  # that torch's exporter writes


@dataclass(frozen=True)
class Limits:
    """How far an export may be from its run: the largest difference of a logit as a share of the largest logit (of 1 at
    least), and the least share of images whose likeliest class is the same. None: not judged."""

    difference: float | None
    agreement: float | None


# Of float32 no agreement: where no logit differs by more, another class can only be likeliest where two are as likely.
LIMITS: dict[Precision, Limits] = {
    "float32": Limits(1e-3, None),
    "float16": Limits(None, 0.99),
    "int8": Limits(None, 0.95),
}


@dataclass(frozen=True)
class ExportRequest:
    """One export; raises OptionsError by `check` where it makes no sense, InputError where a package is missing."""

    to: str
    out: Path | None = None  # a folder; None: export/<format> in the run's
    input: str | None = None
    opset: int | None = None  # None: what torch's exporter writes by itself
    precision: str = "float32"
    tolerance: float | None = None  # in place of the precision's limit of the difference
    agreement: float | None = None  # in place of its limit of the agreement
    images: int = 256  # that the export is compared on
    overwrite: bool = False

    def check(self) -> None:
        """Find out before any work what cannot be done."""
        _require(self.to in FORMATS, f"--to {self.to}: expected {_listed(FORMATS)}.")
        kinds = get_args(Input)
        _require(self.input is None or self.input in kinds, f"--input {self.input}: expected {' or '.join(kinds)}.")
        _require(self.precision in PRECISIONS, f"--precision {self.precision}: expected {_listed(PRECISIONS)}.")
        of_onnx = self.precision == "float32" and self.opset is None
        _require(
            self.to == "onnx" or of_onnx,
            f"--to {self.to}: --precision and --opset are of --to onnx alone; others keep float32.",
        )
        _require(
            self.opset is None or self.opset >= LEAST_OPSET,
            f"--opset {self.opset}: torch's exporter writes {LEAST_OPSET} and later.",
        )
        _require(
            self.to != "timm" or self.input != "uint8",
            "--to timm: timm's networks take normalised images. Leave --input out, or choose another --to.",
        )
        missing = [name for name in NEEDS.get(self.to, ()) if find_spec(name) is None]
        if missing:
            raise InputError(
                f"--to {self.to} needs {', '.join(missing)}, which this Python does not have. "
                f"Run pip install 'featcache[{self.to}]', or choose another --to."
            )

    @property
    def input_kind(self) -> Input:
        """What an image is."""
        return USUAL_INPUT[self.to] if self.input is None else self.input  # type: ignore[index,return-value]  # checked

    @property
    def name(self) -> str:
        """What its folder is called where --out says nothing."""
        return self.to if self.precision == "float32" else f"{self.to}-{self.precision}"

    def folder(self, run: Path) -> Path:
        """Where it goes, of the run in the folder `run`."""
        return self.out if self.out is not None else run / EXPORT / self.name

    def limits(self, exact: bool) -> Limits:
        """How far it may be from the run; a run that is not `exact` itself (float32) is one of float16 at best."""
        precision: Precision = self.precision  # type: ignore[assignment]  # checked
        usual = LIMITS[precision if exact or precision == "int8" else "float16"]
        return Limits(
            usual.difference if self.tolerance is None else self.tolerance,
            usual.agreement if self.agreement is None else self.agreement,
        )


def _require(fine: bool, otherwise: str) -> None:
    if not fine:
        raise OptionsError(otherwise)


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
