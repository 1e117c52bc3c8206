"""`featcache sweep`: search any options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.app.shared_options import TRAINING, Shared, command


@command(
    *TRAINING,
    answers="`trials`: the leading ones with what they are in order of, their figures and the options "
    "that were searched; `importances`, `said`, `folder`",
)
def sweep(
    space: Annotated[Path, typer.Argument(metavar="SPACE.json", help="What is searched, around which base options.")],
    shared: Shared,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials in all; default: as the file says.")
    ] = None,
) -> None:
    """Search any options, heads trained in bulk on the cache; a sweep that was stopped goes on."""
    with shared.working() as session:
        from featcache.app.progress import consoles
        from featcache.app.tables import trial_values, trials_table
        from featcache.errors import OptionsError
        from featcache.options import apply_overrides
        from heads.search import load_sweep, search

        options, base = load_sweep(space, trials)
        searched = [one for one in shared.set_ or [] if one.partition("=")[0] in options.space]
        if searched:
            raise OptionsError(f"--set {searched[0]}: the sweep searches that option. Take it out of the space.")
        apply_overrides(base, shared.overrides)
        result = search(options, base, session)
    shared.answer(
        {
            "folder": result.folder,
            "trials": [trial_values(one, result.objectives) for one in result.leading()],
            "importances": result.importances,
            "said": result.lines(),
        }
    )
    out = consoles()[0]
    out.print(trials_table(result.leading(), list(result.importances), result.objectives))
    for line in result.lines():
        out.print(line, markup=False)
