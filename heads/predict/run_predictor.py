"""A finished run becomes a predictor: its head, rows that are in the cache, its network where they do not suffice."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from featcache.backbones import Backbone
from featcache.session import Session
from featcache.store import has_store, store_at, store_in
from heads.predict.part_features import PartFeatures
from heads.predict.predictor import Predictor
from heads.predict.space_of_run import TunedNetwork, space_of_run
from heads.runs import Run, RunModel, cache_of, calibration_of, load_run_model, load_run_record


def load_predictor(
    run: Run,
    session: Session,
    *,
    cache_dir: Path | None = None,
    calibrated: bool = True,
    spaced: bool = True,
    images_a_pass: int | None = None,
) -> Predictor:
    """A predictor of the run's model: with `calibrated` probabilities by the run's temperature, with `spaced` those
    images told that are unlike the training ones. At most `images_a_pass` go through the network together, by default
    as many as in extraction.

    Rows are looked for in `cache_dir`, by default where the run's features were kept. Raises RunError where the run is
    not whole; WeightsError, at the first image that the cache lacks, where the weights are not those of the run.
    """
    model = load_run_model(run.folder)
    place = cache_of(run) if cache_dir is None else cache_dir
    parts: list[PartFeatures] = []
    tuned: list[TunedNetwork] = []
    for one in model.networks:
        at = place if one is model or cache_dir is not None else cache_of(load_run_record(one.folder))
        made, own = _parts(one, at, session, images_a_pass)
        parts += made
        tuned += [TunedNetwork(own, one.options, at)] if own is not None else []
    space = space_of_run(run, model, [part.store for part in parts], tuned, place, session) if spaced else None
    calibration = calibration_of(run.folder, run.summary) if calibrated else None
    return Predictor(model, parts, session, calibration=calibration, space=space)


def _parts(
    model: RunModel, place: Path, session: Session, images_a_pass: int | None
) -> tuple[list[PartFeatures], Backbone | None]:
    """What each backbone gives; and the fine-tuned one, whose rows have a store of their own."""

    @cache
    def build() -> tuple[Backbone, ...]:
        return model.backbones(allow_custom=session.allow_custom)

    if model.tuned is not None:
        (tuned,) = build()
        store = store_in(place, tuned.info)
        return [PartFeatures(tuned.info.identity, store, lambda: tuned, model.options, session, images_a_pass)], tuned
    parts = []
    for number, identity in enumerate(model.identities):
        file = place / f"{identity.stem}.h5"
        known = store_at(file) if has_store(file) else None
        built = partial(_nth, build, number)
        parts.append(PartFeatures(identity, known, built, model.options, session, images_a_pass))
    return parts, None


def _nth(build: Callable[[], tuple[Backbone, ...]], number: int) -> Backbone:
    return build()[number]
