"""`featcache audit`: look a data set over before anything is trained on it; no image is ever changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.shared_options import Shared, command
from featcache.counted_nouns import counted
from featcache.errors import OptionsError, OutputError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from featcache.audit import Audit
    from featcache.options import GroupRule, Options


@dataclass(frozen=True)
class _Output:
    """Where what is found goes."""

    results_dir: Path
    clean: Path | None
    with_suspects: bool
    groups: Path | None
    exclude: str | None  # data.exclude of what is looked at
    folds: bool = False  # whether all of it is used in folds

    def require(self, data: list[Path], given: GroupRule | None) -> None:
        """Raise OptionsError where a list could not be written; `data` are the folders of what is looked at, `given` is
        its data.groups."""
        from featcache.audit import require_groups_target, require_target

        if self.clean is not None:
            require_target(self.clean, data)
        if self.groups is not None:
            require_groups_target(self.groups, data, given)


@command(
    *("set_", "device", "cache_dir", "results_dir", "allow_custom", "json", "verbose", "quiet"),
    answers="the whole audit, as results/audit keeps it; `written`: the files with their lines",
)
def audit(
    shared: Shared,
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
    write_groups: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write copies and near copies as groups, for data.groups to keep together."),
    ] = None,
) -> None:
    """Find copies, leaks between splits, suspect labels, outliers and unreadable files; no image is changed."""
    if with_suspects and write_clean is None:
        raise OptionsError("audit: --with-suspects goes with --write-clean FILE, which is not there.")
    if not configs and (shared.set_ or shared.device is not None):
        raise OptionsError("audit: --set and --device go with CONFIG, which is not there: finished runs are read.")
    to = partial(_Output, shared.results_dir, write_clean, with_suspects, write_groups)
    if configs:
        from featcache.audit import plain_options

        loaded = shared.load(configs)
        options = plain_options(loaded)
        output = to(options[0].data.exclude, all(one.data.folds is not None for one in loaded))
        _audit_options(options, shared, output)
    else:
        _audit_results(shared, to(None))


def _audit_options(options: list[Options], shared: Shared, output: _Output) -> None:
    """Audit by what could be extracted; the backbones that failed are named at the end."""
    from featcache.app.many_configs import run_each
    from featcache.audit import audit_views, data_folder, view_data

    with shared.working() as session:
        output.require([data_folder(options[0])], options[0].data.groups)
        with session.sharing_images(options) as sharing:
            outcome = run_each(options, partial(view_data, session=sharing), session.progress)
        if outcome.done:
            _show(audit_views(outcome.done, session.progress, folds=output.folds), output, shared)
    outcome.raise_if_failed()


def _audit_results(shared: Shared, output: _Output) -> None:
    """Audit the data of finished runs by their best backbones."""
    from featcache.app.results import AUDIT_BACKBONES
    from heads.leaderboard import rank_results
    from heads.runs import audit_runs, exclude_of, groups_of

    with shared.telling() as progress:
        try:
            runs = rank_results(shared.results_dir).best_runs(AUDIT_BACKBONES)
        except RunError:
            raise RunError(
                f"{shared.results_dir}: holds no finished run whose features could be looked at. Name options files "
                "(CONFIG...), or the folder with --results-dir."
            ) from None
        output.require([Path(run.summary["data"]["path"]) for run in runs], groups_of(runs[0]))
        found = audit_runs(runs, shared.cache_dir, progress)
        _show(found, replace(output, exclude=exclude_of(runs[0])), shared)


def _show(found: Audit, output: _Output, shared: Shared) -> None:
    """Print the audit before anything is written: what was found is seen in any case."""
    from featcache.app.audit_tables import print_audit, print_clean_list
    from featcache.app.progress import consoles
    from featcache.audit import audit_file, clean_list, emptied, resolved, write_audit, write_clean_list

    out, err = consoles()
    file = audit_file(found, output.results_dir)
    shared.answer({**found.as_dict(), "written": [one for one in (file, output.clean, output.groups) if one]})
    print_audit(found, out)
    excluded = clean_list(found, output.with_suspects)
    if output.clean is not None:
        other = None if output.exclude is None or resolved(output.exclude) == output.clean.resolve() else output.exclude
        print_clean_list(write_clean_list(excluded, output.clean), other, out)
        for sentence in emptied(found, excluded):
            err.print(f"warning: {sentence}", style="bold yellow", markup=False)
    elif excluded:
        out.print(
            f"\nNext: --write-clean FILE lists {counted(len(excluded), 'file')} for data.exclude to leave out; no "
            "image is changed.",
            markup=False,
        )
    if output.groups is not None:
        _write_groups(found, output.groups, out)
    try:
        write_audit(found, file)
    except OSError as error:
        raise OutputError(
            f"{file}: the audit cannot be written ({error.strerror}). Choose another folder with --results-dir."
        ) from None
    out.print(f"\n{file}: the whole audit", markup=False)


def _write_groups(found: Audit, file: Path, out: Console) -> None:
    from featcache.app.audit_tables import print_group_table
    from featcache.audit import group_table, write_group_table

    table = group_table(found)
    write_group_table(table, file)
    print_group_table(table, file, out)
