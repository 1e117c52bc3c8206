"""`featcache profile`: how long a run's model takes where it is deployed: in PyTorch, each way, or an export of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.app.named_run import run_names
from featcache.app.shared_options import Shared, command
from featcache.atomic import make_folder, write_text
from featcache.errors import InputError

if TYPE_CHECKING:
    from featcache.profiling import OnnxMeasurement

BESIDE = "parity.json"  # what every export has
KEPT = "performance_onnx.json"
BATCHES = [1, 8, 32, 128]


@dataclass(frozen=True)
class WaysWanted:
    """What `WaysAsked` takes, before anything heavy is imported."""

    batch_sizes: list[int]
    precisions: list[str] | None
    compiled: bool
    threads: list[int]
    iterations: int
    warmup: int


@command(
    *("device", "results_dir", "allow_custom", "json", "verbose", "quiet"),
    answers="of a run a list of its ways, of an ONNX file `file` and `measurements`",
)
def profile(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.onnx|RUN",
            autocompletion=run_names,
            help="An ONNX file, as `featcache export` writes it; or a run: its folder, its name, `best`, its rank.",
        ),
    ],
    shared: Shared,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Images at once; repeatable; default: 1, of a run 1, 8, 32 and 128."),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            metavar="cpu|cuda|tensorrt", help="Of a file; repeatable; default: all that onnxruntime has here."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Of a run; repeatable; default: all on a GPU, float32 and bfloat16 on a CPU."),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Of a run: each way through torch.compile too, a minute each.")
    ] = False,
    iterations: Annotated[int, typer.Option(min=1, help="Timed passes; of a run fewer where they are slow.")] = 100,
    warmup: Annotated[int, typer.Option(min=1, help="Untimed passes before them.")] = 10,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Of the CPU; of a run repeatable; default: as PyTorch has them.")
    ] = None,
) -> None:
    """The latency of a run in each way that PyTorch can run it, or of an exported model in onnxruntime; both are kept
    beside what was timed, and the report shows them."""
    if Path(target).suffix == ".onnx" or Path(target).is_file():
        _refuse("an ONNX file", {"--precision": precision, "--compile": compiled, "--device": shared.device})
        if threads and len(threads) > 1:
            raise InputError("profile: an ONNX file is timed with one number of --threads.")
        with shared.telling():
            from featcache.profiling import OnnxTiming

            timing = OnnxTiming(iterations, warmup, threads[0] if threads else None)
            _profile_file(Path(target), batch_size or [1], timing, provider, shared)
        return
    _refuse("a run", {"--provider": provider})
    wanted = WaysWanted(batch_size or BATCHES, precision, compiled, threads or [], iterations, warmup)
    _profile_run(target, shared, wanted)


def _profile_run(target: str, shared: Shared, asked: WaysWanted) -> None:
    with shared.working() as session:
        from featcache.app.named_run import named_run
        from featcache.profiling import WaysAsked, require_precisions
        from heads.export import time_deployed

        require_precisions(asked.precisions or [], session.device)
        ways = WaysAsked(**asdict(asked))
        folder = named_run(target, shared.results_dir)
        found = time_deployed(folder, ways, session.device, allow_custom=session.allow_custom)
    shared.answer(found)
    from featcache.app.deployed_table import ways_table
    from featcache.app.progress import consoles

    consoles()[0].print(ways_table(found))


def _refuse(what: str, given: dict[str, Any]) -> None:
    """Raise InputError for options that are of the other kind."""
    for name, value in given.items():
        if value:
            raise InputError(f"profile: {name} goes with {'a run' if what != 'a run' else 'an ONNX file'}, not {what}.")


def _profile_file(file: Path, batches: list[int], timing: Any, provider: list[str] | None, shared: Shared) -> None:
    if not file.is_file():
        raise InputError(f"{file}: there is no such file. Expected an ONNX file, as `featcache export` writes it.")
    from featcache.profiling import profile_onnx

    exported = (file.parent / BESIDE).is_file()
    if exported:
        make_folder(file.parent)  # which refuses one that cannot be written, before any work
    found: tuple[OnnxMeasurement, ...] = profile_onnx(file, batches, timing, provider or ())
    kept: dict[str, Any] = {"file": file.name, "measurements": [asdict(one) for one in found]}
    if exported:
        write_text(file.parent / KEPT, json.dumps(kept, indent=2) + "\n")
    shared.answer(kept)
    from featcache.app.deployed_table import onnx_table
    from featcache.app.progress import consoles

    consoles()[0].print(onnx_table(found))
