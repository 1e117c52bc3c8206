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
from heads.distill import lesson_of
from heads.finetune.distributed import Processes, processes
from heads.finetune.end_to_end import training_mode
from heads.finetune.epoch_choice import EpochChoice
from heads.finetune.fold_run import cross_validation
from heads.finetune.kept_inputs import KeptInputs
from heads.finetune.phase1_start import Phase1Start, load_phase1_start
from heads.finetune.run_setup import RunSetup
from heads.finetune.tuned_network import Network, load_network, make_setup, make_trainer, prepare, started
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
    _networks: dict[str, Network] = field(default_factory=dict)  # by adapter, which is put into the network itself
    _kept: KeptInputs | None = None
    _stages: dict[str, CachedFeatures] = field(default_factory=dict)
    _begun: dict[str, tuple[Network, CachedFeatures]] = field(default_factory=dict)
    _starts: dict[bool, Phase1Start | None] = field(default_factory=dict)
    _checked: set[int] = field(default_factory=set)  # networks on their device, found to give what is in the cache

    def require_start(self, options: Options, keep_head: bool) -> None:
        """Raise what every trial would, where the run that recipes begin with is no start for them."""
        self._start(options, self._loaded(options), keep_head)

    def train(self, options: Options, keep_head: bool, watch: Watch) -> TriedRecipe:
        """Raises what `fine_tune` does where a recipe cannot be followed or its loss is not finite."""
        require_schedule(options)
        with training_mode(options, self.session.device):
            start = self._start(options, self._loaded(options), keep_head)
            setup, network = self._setup(options, start)
            seed = setup.training.seed_list[0]
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

    def _setup(self, options: Options, start: Phase1Start | None) -> tuple[RunSetup, Network]:
        begun, features = self._begin(options, start)
        names = [block.name for block in begun.blocks]
        network = replace(begun, schedule=make_schedule(options.training, names, options.model.backbone))
        lesson = lesson_of(options, features)
        setup = make_setup(options, features, network, self.them, self.session, plain=False, lesson=lesson)
        self._kept = self._kept or setup.kept
        setup = replace(setup, kept=self._kept.of_views(_key(options)))
        if id(network.backbone) not in self._checked:
            prepare(network.backbone, setup)
            self._checked.add(id(network.backbone))
        return setup, network

    def _loaded(self, options: Options) -> Network:
        """The network as it was published, with room for what an adapter adds."""
        key = _adapter(options)
        if key not in self._networks:
            network = load_network(options, self.session.allow_custom)
            depth = self._cached(options).manifest.depth
            self._networks[key] = replace(network, backbone=network.backbone.at_depth(depth))
        return self._networks[key]

    def _begin(self, options: Options, start: Phase1Start | None) -> tuple[Network, CachedFeatures]:
        """What recipes begin with, and its features: those of the network of a run that was fine-tuned already."""
        network, cached = self._loaded(options), self._cached(options)
        if start is None or start.network is None:
            return network, cached
        key = _key(options)
        if key not in self._begun:
            found, features = started(network, cached, start, options, self.session)
            alike = [one for other, (one, _) in self._begun.items() if other.startswith(_adapter(options))]
            self._begun[key] = (alike[0] if alike else found), features  # one network for all views
        return self._begun[key]

    def _cached(self, options: Options) -> CachedFeatures:
        key = _views(options)
        if key not in self._stages:
            self._stages[key] = extract_all(options, self.session)
        return self._stages[key]

    def _start(self, options: Options, network: Network, keep_head: bool) -> Phase1Start | None:
        if self.from_run is None:
            return None
        if keep_head not in self._starts:
            self._starts[keep_head] = load_phase1_start(self.from_run, options, network.backbone, keep_head)
        return self._starts[keep_head]


def _views(options: Options) -> str:
    """The same for recipes on the same views of the images."""
    value = options.as_dict()["data"]
    del value["batch_size"], value["workers"], value["decoders"]
    return digest([value, options.training.precision])


def _adapter(options: Options) -> str:
    return digest([options.as_dict()["training"]["adapter"]])


def _key(options: Options) -> str:
    return _adapter(options) + _views(options)


@contextmanager
def recipe_trials(options: Options, session: Session, from_run: Path | None) -> Iterator[RecipeTrials]:
    """Trials around `options`; images are decoded once for all of them, where there is room.

    Raises OptionsError under `torchrun`.
    """
    with processes(session.device) as them, session.decoding_once(options.cache) as sharing:
        if them.count > 1:
            raise OptionsError(f"finetune --search: works in one process, and torchrun started {them.count}.")
        yield RecipeTrials(sharing, them, from_run)
