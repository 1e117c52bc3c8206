"""`featcache soup` without the command line: folders of fine-tuned runs in, the run of their average out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from featcache.devices import device_name
from featcache.errors import OptionsError, RunError
from featcache.extraction import CachedFeatures, extract_all
from featcache.options import Options, apply_overrides, load_options, parse_options, plain_name
from featcache.session import Session, SessionKeywords
from heads.combine import default_name
from heads.finetune import training_mode
from heads.runs import (
    Result,
    Run,
    load_run_record,
    make_inputs,
    recording,
    results_folder,
    warn_of_leakage,
    write_record,
    writing_folder,
)
from heads.soup.averaged_network import AveragedNetwork
from heads.soup.greedy_soup import choose_members, take_all
from heads.soup.shared_start import Member, in_order_of_images, read_members
from heads.soup.soup_result import Soup, soup_result

log = logging.getLogger("featcache")


@dataclass(frozen=True)
class SoupPlan:
    """What is to be averaged, and how."""

    folders: Sequence[Path]
    name: str | None = None  # of the folder below the results; None: of the runs' names
    uniform: bool = False  # all of them, instead of those that make it no worse on val
    overrides: Sequence[str] = ()  # of the first run's options, such as cache.dir="elsewhere"


def soup_runs(
    folders: Sequence[str | Path],
    *,
    name: str | None = None,
    uniform: bool = False,
    **session: Unpack[SessionKeywords],
) -> Run:
    """The average of the weights of fine-tuned runs that share a start, as a run below `results_dir`.

    Greedy (Wortsman et al. 2022): the best on val, and of the others, best first, each with whom the average is not
    worse on val; `uniform` takes all. Further keywords: `results_dir`, `device`, `allow_custom`, `progress`, `scratch`.
    Raises RunError where the runs share no start or no images, OptionsError where the name is none.
    """
    return soup_run(SoupPlan([Path(one) for one in folders], name, uniform), Session.begin(**session))


def soup_run(plan: SoupPlan, session: Session) -> Run:
    """`soup_runs` within a session."""
    called = default_name(plan.folders, "soup") if plan.name is None else plan.name
    try:
        plain_name(called, "--name")
    except ValueError as error:
        raise OptionsError(f"soup: {error}.") from None
    folder = session.results_dir / called
    _require_free(folder)
    members = read_members(plan.folders, session.results_dir)
    options = _options(members[0], called, plan.overrides)
    with ExitStack() as stack:
        stack.enter_context(results_folder(session.results_dir))
        log_lines = stack.enter_context(recording())
        stack.enter_context(training_mode(options, session.device))
        session = stack.enter_context(session.decoding_once(options.cache))
        cached = extract_all(options, session)
        members = in_order_of_images(members, cached.manifest)
        result = _average(members, options, cached, session, plan.uniform)
        assert result.soup is not None
        inputs = {
            **make_inputs(options, cached, device_name(session.device)),
            "soup": {"members": [one["model"] for one in result.soup["members"]], "uniform": plan.uniform},
        }
        with writing_folder(folder, "an earlier soup of that name") as partial:
            write_record(partial, options, cached, inputs, result, session.device)
            warn_of_leakage(load_run_record(partial))
            lines = [*log_lines, *result.soup["said"], ""]
            (partial / "log.txt").write_text("\n".join(lines), encoding="utf-8")
    return load_run_record(folder)


def _average(
    members: Sequence[Member], options: Options, cached: CachedFeatures, session: Session, uniform: bool
) -> Result:
    (extraction,) = cached.parts
    network = AveragedNetwork(members, options, extraction, session)
    val, count = members[0].answers["val"], len(members)
    metric = options.training.selection_metric
    if uniform:
        choice = take_all(count, network.val_logits)
    else:
        choice = choose_members(count, network.val_logits, val.labels, val.units, metric)
    found_on_val = network.val_logits(choice.taken)
    network.take(choice.taken)
    return soup_result(members, options, Soup(choice, found_on_val, network.test_logits(choice.taken), network))


def _options(first: Member, name: str, overrides: Sequence[str]) -> Options:
    """Those of the first run under the soup's name."""
    document = {**load_options(first.run.folder / "options.json").as_dict(), "experiment_name": name}
    apply_overrides(document, list(overrides))
    return parse_options(document, str(first.run.folder / "options.json"))


def _require_free(folder: Path) -> None:
    """Raise RunError where `folder` holds something else than a soup, which must not be lost."""
    if not folder.exists():
        return
    try:
        if load_run_record(folder).summary.get("soup") is not None:
            return
    except RunError:
        pass
    raise RunError(f"{folder}: is there already and no soup, so it is left as it is. Choose another --name.")
