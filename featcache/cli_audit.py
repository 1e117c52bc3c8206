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
from featcache.errors import DataError, OptionsError, OutputError, RunError

if TYPE_CHECKING:
    from featcache.audit import Audit
    from featcache.data.scratch import Scratch
    from featcache.options import Options
    from featcache.records import BadImage, Manifest, Progress
    from heads.runs import Run

BACKBONES = 3  # of the leaderboard, that are asked without CONFIG


@dataclass(frozen=True)
class _Output:
    """Where what is found goes."""

    results_dir: Path
    clean: Path | None
    with_suspects: bool
    exclude: str | None  # data.exclude of what is looked at


@dataclass(frozen=True)
class _Looked:
    """What one backbone has seen of the data."""

    store: Path
    manifest: Manifest  # of the images that can be read
    bad: tuple[BadImage, ...]


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
    if with_suspects and write_clean is None:
        raise OptionsError("audit: --with-suspects goes with --write-clean FILE, which is not there.")
    if not configs and (set_ or device is not None):
        raise OptionsError("audit: --set and --device go with CONFIG, which is not there: finished runs are read.")
    options = _options(load(configs, set_, cache_dir)) if configs else []
    with working(verbose, quiet) as progress:
        if options:
            output = _Output(results_dir, write_clean, with_suspects, options[0].data.exclude)
            _require_target(write_clean, [_data_folder(options[0])])
            _extract_and_show(options, device, allow_custom, progress, output)
        else:
            runs = _best_runs(results_dir)
            output = _Output(results_dir, write_clean, with_suspects, _exclude_of(runs[0]))
            _require_target(write_clean, [Path(run.summary["data"]["path"]) for run in runs])
            _show(_of_runs(runs, cache_dir, progress), output)


def _options(loaded: list[Options]) -> list[Options]:
    """What to extract for each backbone: plain views alone, however many files are bad; all on one data set."""
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


def _require_target(file: Path | None, data: list[Path]) -> None:
    """Before any work; raises OptionsError where the clean list could not be written, or must not."""
    from featcache.audit import require_target

    if file is not None:
        require_target(file, data)


def _data_folder(options: Options) -> Path:
    """Where the images lie, or will lie: the demo's are written below the cache."""
    from featcache.data.digits import NAME

    return Path(options.cache.dir, "demo") if options.data.path == NAME else _place(options.data.path)


def _place(name: str) -> Path:
    try:
        return Path(name).expanduser().resolve()
    except RuntimeError:  # ~somebody who has no home: said when it is opened
        return Path(name)


def _data(options: Options) -> dict[str, object]:
    """What of the options decides which images there are, and in which split."""
    data = options.data
    exclude = data.exclude and str(_place(data.exclude))
    return {
        "path": str(_place(data.path)),
        "exclude": exclude,
        "val_fraction": data.val_fraction,
        "test_fraction": data.test_fraction,
    }


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

    with shared_scratch(options) as scratch:
        work = partial(_look, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
        outcome = run_each(options, work, progress)
    if outcome.done:
        _show(_of_looks(outcome.done, progress), output)
    outcome.raise_if_failed()


def _look(
    options: Options, *, device: str | None, allow_custom: bool, progress: Progress, scratch: Scratch | None
) -> _Looked:
    """Extract what is missing. A class with no readable image left in a split, which nothing can be trained on, is a
    finding here: all that could be read is in the store by the time that `extract` refuses it."""
    from featcache.extraction import extract

    try:
        done = extract(options, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
    except DataError as error:
        return _of_the_rest(options, allow_custom, error)
    return _Looked(done.store.path, done.manifest, done.bad)


def _of_the_rest(options: Options, allow_custom: bool, refusal: DataError) -> _Looked:
    """What there is beside the unreadable files; raises the `refusal` where it was for another reason."""
    from featcache.backbones import describe_backbone
    from featcache.data import load_manifest
    from featcache.data.quarantine import quarantined
    from featcache.store import FeatureStore

    manifest, _ = load_manifest(options.data, options.cache.dir)  # raises what `extract` did, if that was here
    bad = quarantined(manifest, Path(options.cache.dir))
    readable = manifest.without({one.sha256 for one in bad})
    if not bad or not readable.images:
        raise refusal
    info, _ = describe_backbone(options, allow_custom=allow_custom)
    return _Looked(FeatureStore(options.cache.dir, info).path, readable, bad)


def _of_looks(done: tuple[_Looked, ...], progress: Progress) -> Audit:
    """By all of them; a file that could not be read by one of them, for whatever moment, is bad."""
    from featcache.audit import audit_stores

    bad = {one.name: one for looked in done for one in looked.bad}
    paths = list(dict.fromkeys(looked.store for looked in done))
    readable = done[-1].manifest.without({one.sha256 for one in bad.values()})
    return audit_stores(paths, readable, bad.values(), progress)


def audit_runs(
    results_dir: Path, cache_dir: Path | None, progress: Progress, data: str | None = None, reuse: bool = False
) -> Audit:
    """Audit the data with the fingerprint `data` (default: that of the run finished last) by the stores of the best
    backbones; with `reuse`, an audit by the same stores that is there already is given back."""
    return _of_runs(_best_runs(results_dir, data), cache_dir, progress, results_dir if reuse else None)


def _best_runs(results_dir: Path, data: str | None = None) -> list[Run]:
    """The best run of each of the best backbones; raises RunError where there is none."""
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
    return [next(runs[row.run] for row in board.rows if row.backbone == name) for name in best]


def _of_runs(runs: list[Run], cache_dir: Path | None, progress: Progress, reuse: Path | None = None) -> Audit:
    """By their stores; an audit below the folder `reuse` that is by the same ones is given back."""
    from featcache import __version__
    from featcache.audit import audit_stores, find_audit
    from featcache.data.quarantine import quarantined
    from featcache.store import FeatureStore

    paths = list(dict.fromkeys(path for run in runs for path in _stores(run, cache_dir)))
    fingerprint = str(runs[0].summary["data"]["fingerprint"])
    manifest = FeatureStore.at(paths[0]).dataset(fingerprint)
    bad = quarantined(manifest, paths[0].parent)
    known = find_audit(reuse, fingerprint) if reuse is not None else None
    if (
        known is not None
        and (known.featcache, known.quarantined) == (__version__, bad)
        and [b.store for b in known.backbones] == [path.name for path in paths]
    ):
        return known
    return audit_stores(paths, manifest, bad, progress)


def _stores(run: Run, cache_dir: Path | None) -> list[Path]:
    """The stores that a run was trained on."""
    from heads.runs import cache_of

    folder = cache_dir or cache_of(run)
    return [folder / str(name) for name in run.summary["stores"]]


def _exclude_of(run: Run) -> str | None:
    """The run's data.exclude; None where there is none, or the run does not say."""
    import json

    try:
        exclude = json.loads((run.folder / "options.json").read_text(encoding="utf-8"))["data"]["exclude"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(exclude) if exclude is not None else None


def _show(found: Audit, output: _Output) -> None:
    """Print the audit before anything is written: what was found is seen in any case."""
    from featcache.audit import audit_file, clean_list, emptied, write_audit, write_clean_list
    from featcache.terminal import consoles
    from featcache.terminal_audit import print_audit, print_clean_list

    out, err = consoles()
    print_audit(found, out)
    excluded = clean_list(found, output.with_suspects)
    if output.clean is not None:
        other = None if output.exclude is None or _place(output.exclude) == output.clean.resolve() else output.exclude
        print_clean_list(write_clean_list(excluded, output.clean), other, out)
        for sentence in emptied(found, excluded):
            err.print(f"warning: {sentence}", style="bold yellow", markup=False)
    elif excluded:
        out.print(
            f"\nNext: --write-clean FILE lists {len(excluded)} files for data.exclude to leave out; no image is "
            "changed.",
            markup=False,
        )
    file = audit_file(found, output.results_dir)
    try:
        write_audit(found, file)
    except OSError as error:
        raise OutputError(
            f"{file}: the audit cannot be written ({error.strerror}). Choose another folder with --results-dir."
        ) from None
    out.print(f"\n{file}: the whole audit", markup=False)
