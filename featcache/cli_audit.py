"""`featcache audit`: look a data set over before anything is trained on it; no image is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.console import (
    RESULTS,
    AllowCustom,
    CacheDir,
    Device,
    Quiet,
    ResultsDir,
    Set,
    Verbose,
    guarded,
    load,
    working,
)

if TYPE_CHECKING:
    from featcache.audit import Audit
    from featcache.extraction import Extraction
    from featcache.options import Options
    from featcache.records import Progress
    from heads.runs import Run

BACKBONES = 3  # of the leaderboard, that are asked without CONFIG


@dataclass(frozen=True)
class _Output:
    """Where what is found goes."""

    results_dir: Path
    clean: Path | None
    with_suspects: bool


@guarded
def audit(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG...]",
            help="Options files, or folders of them, on one data set; default: the best backbones of finished runs.",
        ),
    ] = None,
    write_clean: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the list of files to leave out, for data.exclude.")
    ] = None,
    with_suspects: Annotated[
        bool, typer.Option("--with-suspects", help="With --write-clean: leave out flagged labels too.")
    ] = False,
    set_: Set = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    results_dir: ResultsDir = RESULTS,
    allow_custom: AllowCustom = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find copies, leaks between splits, suspect labels, outliers and unreadable files; no image is changed."""
    from featcache.errors import OptionsError

    if with_suspects and write_clean is None:
        raise OptionsError("audit: --with-suspects goes with --write-clean FILE, which is not there.")
    if not configs and (set_ or device is not None):
        raise OptionsError("audit: --set and --device go with CONFIG, which is not there: finished runs are read.")
    options = _options(load(configs, set_, cache_dir)) if configs else []
    output = _Output(results_dir, write_clean, with_suspects)
    with working(verbose, quiet) as progress:
        if options:
            _extract_and_show(options, device, allow_custom, progress, output)
        else:
            _show(audit_runs(results_dir, cache_dir, progress), output)


def _options(loaded: list[Options]) -> list[Options]:
    """What to extract for each backbone: plain views alone, however many files are bad; all on one data set."""
    from featcache.errors import OptionsError

    first = loaded[0]
    for one in loaded:
        if _data(one) != _data(first):
            raise OptionsError(
                f"audit: {first.experiment_name} and {one.experiment_name} are on different data: "
                f"{_differences(first, one)}. An audit is of one data set: give its configs alone, or set the same "
                "with --set."
            )
    plain = {"max_bad_fraction": 1.0, "augmentations": (), "views": None, "folds": None}
    data = first.data.model_copy(update=plain)
    return [part.model_copy(update={"data": data}) for one in loaded for part in one.parts]


def _data(options: Options) -> dict[str, object]:
    """What of the options decides which images there are, and in which split."""
    data = options.data
    path = str(Path(data.path).expanduser().resolve())
    exclude = data.exclude and str(Path(data.exclude).expanduser().resolve())
    return {"path": path, "exclude": exclude, "val_fraction": data.val_fraction, "test_fraction": data.test_fraction}


def _differences(first: Options, other: Options) -> str:
    a, b = _data(first), _data(other)
    return "; ".join(f"data.{key} is {a[key]} and {b[key]}" for key in a if a[key] != b[key])


def _extract_and_show(
    options: list[Options],
    device: str | None,
    allow_custom: bool,
    progress: Progress,
    output: _Output,
) -> None:
    """Audit by what could be extracted; the backbones that failed are named at the end."""
    from featcache.batch import run_each, shared_scratch
    from featcache.extraction import extract

    with shared_scratch(options) as scratch:
        work = partial(extract, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
        outcome = run_each(options, work, progress)
    if outcome.done:
        _show(_of_extractions(outcome.done, progress), output)
    outcome.raise_if_failed()


def _of_extractions(done: tuple[Extraction, ...], progress: Progress) -> Audit:
    from featcache.audit import audit_stores

    paths = list(dict.fromkeys(e.store.path for e in done))
    return audit_stores(paths, done[-1].manifest.fingerprint, done[-1].bad, progress)


def audit_runs(
    results_dir: Path, cache_dir: Path | None, progress: Progress, data: str | None = None, reuse: bool = False
) -> Audit:
    """Audit the data with the fingerprint `data` (default: that of the run finished last) by the stores of the best
    backbones; with `reuse`, an audit by the same stores that is there already is given back."""
    from featcache import __version__
    from featcache.audit import audit_stores, find_audit
    from featcache.data.quarantine import quarantined
    from featcache.errors import RunError
    from featcache.store import FeatureStore
    from heads.ranking import leaderboard
    from heads.runs import finished_runs

    runs = {run.folder.name: run for run in finished_runs(results_dir)}
    if not runs:
        raise RunError(
            f"{results_dir}: holds no finished run whose features could be looked at. Name options files (CONFIG...), "
            "or the folder with --results-dir."
        )
    board = leaderboard(list(runs.values()), data)
    best = list(dict.fromkeys(row.backbone for row in board.rows))[:BACKBONES]
    chosen = [next(runs[row.run] for row in board.rows if row.backbone == name) for name in best]
    paths = list(dict.fromkeys(path for run in chosen for path in _stores(run, cache_dir)))
    fingerprint = str(chosen[0].summary["data"]["fingerprint"])
    bad = quarantined(FeatureStore.at(paths[0]).dataset(fingerprint), paths[0].parent)
    known = find_audit(results_dir, fingerprint) if reuse else None
    if (
        known is not None
        and (known.featcache, known.quarantined) == (__version__, bad)
        and [b.store for b in known.backbones] == [path.name for path in paths]
    ):
        return known
    return audit_stores(paths, fingerprint, bad, progress)


def _stores(run: Run, cache_dir: Path | None) -> list[Path]:
    """The stores that a run was trained on; raises RunError where it does not say."""
    import json

    from featcache.errors import RunError

    try:
        folder = cache_dir or Path(json.loads((run.folder / "options.json").read_text())["cache"]["dir"])
        return [folder / str(name) for name in run.summary["stores"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(
            f"{run.folder}: does not say which features it was trained on. Name options files: audit CONFIG..."
        ) from None


def _show(found: Audit, output: _Output) -> None:
    """Write the audit, and the clean list where it is wanted, and print both."""
    from featcache.audit import audit_file, clean_list, emptied, write_audit, write_clean_list
    from featcache.terminal import consoles
    from featcache.terminal_audit import print_audit

    file = audit_file(found, output.results_dir)
    write_audit(found, file)
    out, err = consoles()
    print_audit(found, out)
    out.print(f"\n{file}: the whole audit", markup=False)
    excluded = clean_list(found, output.with_suspects)
    if output.clean is not None:
        write_clean_list(excluded, output.clean)
        out.print(
            f"{output.clean}: {len(excluded)} files to leave out. Look it over, then use it: "
            f"--set data.exclude={output.clean}",
            markup=False,
        )
        for sentence in emptied(found, excluded):
            err.print(f"warning: {sentence}", style="bold yellow", markup=False)
    elif excluded:
        out.print(
            f"Next: --write-clean FILE lists {len(excluded)} files for data.exclude to leave out; no image is changed.",
            markup=False,
        )
