"""Trials of recipes on one network: extracted once, its frozen part's output kept for all, stopped when told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from featcache.errors import OptionsError
from featcache.extraction import CachedFeatures, extract_all
from featcache.options import Options
from featcache.records import ImageRecord, digest
from featcache.session import Session
from heads.finetune.distributed import Processes, processes
from heads.finetune.end_to_end import training_mode
from heads.finetune.epoch_choice import EpochChoice
from heads.finetune.fold_run import cross_validation
from heads.finetune.kept_inputs import KeptInputs
from heads.finetune.phase1_start import Phase1Start, load_phase1_start
from heads.finetune.run_setup import RunSetup
from heads.finetune.tuned_network import Network, load_network, make_setup, make_trainer, prepare
from heads.finetune.unfreezing import make_schedule, require_schedule
from heads.training import START, TrainedHead

Watch = Callable[[TrainedHead], bool]  # told of a trial after every epoch; says True to stop it


class _StoppedError(Exception):
    """A trial that need not go on."""


@dataclass(frozen=True)
class TriedRecipe:
    """What came of a recipe: its curve with what it gave on each val image (out of fold with `data.folds`), logits
    `[N, C]` at its best epoch, the images, and whether it was stopped."""

    head: TrainedHead
    logits: Tensor
    images: tuple[ImageRecord, ...]
    stopped: bool


@dataclass
class RecipeTrials:
    """Trains recipes of one backbone on one data set, each with its first seed, from the same weights."""

    session: Session
    them: Processes
    from_run: Path | None
    _network: Network | None = None
    _kept: KeptInputs | None = None
    _stages: dict[str, CachedFeatures] = field(default_factory=dict)
    _starts: dict[bool, Phase1Start | None] = field(default_factory=dict)

    def train(self, options: Options, keep_head: bool, watch: Watch) -> TriedRecipe:
        """Raises what `fine_tune` does where a recipe cannot be followed or its loss is not finite."""
        require_schedule(options)
        with training_mode(options, self.session.device):
            setup, network = self._setup(options)
            seed = setup.training.seed_list[0]
            start = self._start(options, network, keep_head)
            if options.data.folds is None:
                choice = EpochChoice(setup, make_trainer(setup, network, start, seed), seed, setup.dataset.val)
            else:
                choice = cross_validation(setup, self._cached(options), network, seed)
            best: list[Tensor] = []

            def look(name: str, _: dict[str, Tensor], logits: Tensor) -> None:
                if name:
                    best[:] = [logits]
                if watch(choice.result):
                    raise _StoppedError

            stopped = False
            try:
                choice.run(START, look)
            except _StoppedError:
                stopped = True
                self.session.progress.end("stopped")
        images = tuple(setup.dataset.images[i] for i in setup.dataset.val)
        return TriedRecipe(choice.result, best[0], images, stopped)

    def _setup(self, options: Options) -> tuple[RunSetup, Network]:
        cached = self._cached(options)
        fresh = self._network is None
        if self._network is None:
            network = load_network(options, self.session.allow_custom)
            self._network = replace(network, backbone=network.backbone.at_depth(cached.manifest.depth))
        names = [block.name for block in self._network.blocks]
        network = replace(self._network, schedule=make_schedule(options.training, names, options.model.backbone))
        setup = make_setup(options, cached, network, self.them, self.session, plain=False)
        self._kept = self._kept or setup.kept
        setup = replace(setup, kept=self._kept.of_views(self._views(options)))
        if fresh:
            prepare(network.backbone, setup)
        return setup, network

    def _cached(self, options: Options) -> CachedFeatures:
        key = self._views(options)
        if key not in self._stages:
            self._stages[key] = extract_all(options, self.session)
        return self._stages[key]

    def _views(self, options: Options) -> str:
        """The same for recipes on the same views of the images."""
        value = options.as_dict()["data"]
        del value["batch_size"], value["workers"]
        return digest([value, options.training.precision])

    def _start(self, options: Options, network: Network, keep_head: bool) -> Phase1Start | None:
        if self.from_run is None:
            return None
        if keep_head not in self._starts:
            self._starts[keep_head] = load_phase1_start(self.from_run, options, network.backbone, keep_head)
        return self._starts[keep_head]


@contextmanager
def recipe_trials(options: Options, session: Session, from_run: Path | None) -> Iterator[RecipeTrials]:
    """Trials around `options`; images are decoded once for all of them, where there is room.

    Raises OptionsError under `torchrun`.
    """
    with processes(session.device) as them, session.decoding_once(options.cache) as sharing:
        if them.count > 1:
            raise OptionsError(f"finetune --search: works in one process, and torchrun started {them.count}.")
        yield RecipeTrials(sharing, them, from_run)
