"""`fine_tune`: one options file with an unfreeze schedule becomes one run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featcache.backbones import Backbone, blocks, build_head, load_parts
from featcache.backbones.blocks import Block
from featcache.backbones.weights import put_weights
from featcache.data.scratch import Scratch
from featcache.extraction import pick_device
from featcache.inference import exact
from featcache.joined import Joined, extract_joined
from featcache.options import Options, parse_options
from featcache.profiling import device_name
from featcache.records import SILENT, Progress, Split
from heads.evaluation import Predictions
from heads.finetune.checkpoints import Checkpoints, Finished, Position
from heads.finetune.job import Job
from heads.finetune.judging import Pieces
from heads.finetune.parity import require_parity
from heads.finetune.pool import make_pool
from heads.finetune.processes import Processes, local_device, processes, share_batch_norms
from heads.finetune.schedule import HEAD, Schedule, make_schedule, require_schedule
from heads.finetune.sources import Decoded
from heads.finetune.start import Start, load_start
from heads.finetune.trainer import Trainer
from heads.module import initial_state
from heads.record import Result, make_inputs, make_result, write_record
from heads.runs import (
    Run,
    load_run_record,
    recording,
    results_folder,
    run_folder,
    same_run,
    warn_of_leakage,
    write_run,
)
from heads.stacked import TrainedHead

log = logging.getLogger("featcache")


@dataclass(frozen=True)
class Network:
    """The network of a run, as it was before any training."""

    backbone: Backbone
    blocks: tuple[Block, ...]
    schedule: Schedule
    pristine: dict[str, Tensor]  # its weights, on the CPU


def fine_tune(
    options: Options | Mapping[str, Any],
    *,
    results_dir: str | Path = "results",
    device: str | None = None,
    allow_custom: bool = False,
    reuse: bool = False,
    progress: Progress = SILENT,
    scratch: Scratch | None = None,
    from_run: str | Path | None = None,
    keep_head: bool = True,
    plain: bool = False,
) -> Run:
    """Train backbone and head end to end along `training.unfreeze_schedule`; writes a run folder like `train_model`.

    `from_run` is the Phase 1 run that this one comes from: its head is where training begins (a fresh one unless
    `keep_head`), and the leaderboard shows the gain over it. With `reuse` a finished run is given back, and one that
    was stopped goes on after its last whole epoch. With `plain` nothing of the frozen part is kept: every epoch runs
    the whole network, to the same losses within rounding. Under `torchrun` every process takes a share of each batch.

    Raises InputError before any work when the options cannot be followed, WorkError when the cached features are not
    the network's (parity), NonFiniteError when a loss is not finite: the last good checkpoint is kept.
    """
    options = options if isinstance(options, Options) else parse_options(options)
    require_schedule(options)
    place = pick_device(local_device(device))
    folder = run_folder(Path(results_dir), options)
    with (
        results_folder(folder.parent),
        recording() as log_lines,
        processes(place) as them,
        _same_bits(),
        exact(options.training.precision, place),
        torch.inference_mode(False),  # whatever mode the caller is in
        torch.enable_grad(),
        _decoded(options, scratch) as kept,
    ):
        network = load_network(options, allow_custom)
        start = load_start(Path(from_run), options, network.backbone, keep_head) if from_run is not None else None
        fill = partial(extract_joined, device=str(place), allow_custom=allow_custom, progress=progress, scratch=kept)
        joined = _extracted(options, fill, them)
        inputs = {
            **make_inputs(options, joined, device_name(place)),
            **(start.inputs if start is not None else {}),
            "plain": plain,
            "processes": them.count,
        }
        # By options, not by the run's folder, which other options may have taken when a stopped run goes on.
        own = folder.with_name(f".{options.experiment_name}-{options.short}.checkpoint")
        checkpoints = Checkpoints(own, inputs, writes=them.first)
        if them.agreed(reuse and same_run(folder, inputs) is not None):
            checkpoints.discard()
            log.info("%s: finished before with the same options on the same rows", folder)
            known = replace(load_run_record(folder), reused=True)
            warn_of_leakage(known)
            return known
        job = make_job(options, joined, network, place, them, progress, kept, plain)
        prepare(network.backbone, job)
        with checkpoints.held(fresh=not reuse) as position:
            _train(job, network, start, checkpoints, position)
            if them.first:
                result = _result(job, network, checkpoints, position, start)
                write_run(folder, log_lines, lambda new: write_record(new, options, joined, inputs, result, place))
        them.wait()
    return load_run_record(folder)


@contextmanager
def _same_bits() -> Iterator[None]:
    """A GPU's convolutions add up in the same order every time: equal options, equal bits."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextmanager
def _decoded(options: Options, shared: Scratch | None) -> Iterator[Scratch]:
    """Where decoded images are kept from epoch to epoch, and from run to run where runs share it."""
    if shared is not None:
        yield shared
        return
    with closing(Scratch(Path(options.cache.dir), int(options.cache.max_decoded_gb * 1e9))) as own:
        yield own


def _extracted(options: Options, fill: Callable[[Options], Joined], them: Processes) -> Joined:
    """Stage one; of several processes the first extracts, and the others find what it extracted."""
    if not them.first:
        them.wait()
    joined = fill(options)
    if them.first:
        them.wait()
    return joined


def load_network(options: Options, allow_custom: bool) -> Network:
    """The network that `options` name, in blocks; raises InputError where it or the schedule cannot be followed."""
    (backbone,) = load_parts(options, allow_custom=allow_custom)
    every = blocks(backbone)
    schedule = make_schedule(options.training, [b.name for b in every], options.model.backbone)
    return Network(backbone, every, schedule, {n: t.clone() for n, t in backbone.state_dict().items()})


def make_job(
    options: Options,
    joined: Joined,
    network: Network,
    device: torch.device,
    them: Processes,
    progress: Progress,
    scratch: Scratch | None,
    plain: bool,
) -> Job:
    """What every seed trains with."""
    (extraction,) = joined.parts
    pool = make_pool(extraction)
    size = min(options.data.batch_size, len(pool.train))
    pieces = Pieces(size, options.model.backbone, device, them.count)
    schedule = network.schedule
    return Job(options, extraction, pool, network.blocks, schedule, device, them, pieces, progress, scratch, plain)


def prepare(backbone: Backbone, job: Job) -> None:
    """The backbone on its device, in the layout and with the batch norms that it trains with; checks parity."""
    layout = torch.channels_last if job.training.channels_last else torch.contiguous_format
    if job.processes.count > 1:
        backbone.network = share_batch_norms(backbone.network, job.device, job.processes)
    backbone.to(job.device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    require_parity(backbone, _fresh_head(job, None, job.training.seed_list[0]), job)


def _fresh_head(job: Job, start: Start | None, seed: int) -> nn.Sequential:
    dims = job.extraction.dims
    head = build_head(dims, job.options.model.dropout)
    head.load_state_dict(start.head if start is not None and start.head is not None else initial_state(dims, seed))
    return head.to(job.device)


def _train(job: Job, network: Network, start: Start | None, checkpoints: Checkpoints, position: Position) -> None:
    """Train the seeds that are not finished yet."""
    for seed in job.training.seed_list[len(position.finished) :]:
        trainer = make_trainer(job, network, start, seed)
        begin = 0
        if position.current is not None:
            begin = trainer.restore(position.current)
            log.info("%s: seed %d goes on with epoch %d", job.options.experiment_name, seed, begin)

        def commit(name: str, weights: dict[str, Tensor], logits: Tensor, trainer: Trainer = trainer) -> None:
            if name:
                checkpoints.save_best(name, weights, logits)
            position.current = trainer.checkpoint()
            checkpoints.save(position)

        trainer.run(begin, commit)
        position.finished.append(Finished(trainer.result, trainer.best))
        position.current = None
        checkpoints.save(position)


def make_trainer(job: Job, network: Network, start: Start | None, seed: int) -> Trainer:
    """A trainer of the network as it was before any training."""
    put_weights(network.backbone, network.pristine)
    return Trainer(job, network.backbone, _fresh_head(job, start, seed), seed)


def _result(job: Job, network: Network, checkpoints: Checkpoints, position: Position, start: Start | None) -> Result:
    """The figures of every seed's best epoch on val and, now for the first time, on test."""
    test = job.extraction.manifest.of("test")
    source = Decoded(job.decoder(), test, job.device)
    val, tested = [], []
    for finished in position.finished:
        weights, logits = checkpoints.load_best(finished.best)
        trainer = make_trainer(job, network, start, finished.head.seed)
        trainer.load(weights)
        tested.append(trainer.logits(source, len(test)).numpy())
        val.append(logits.numpy())
        finished.head.state = {n.removeprefix("head."): t for n, t in weights.items() if n.startswith("head.")}
    pool = job.pool
    predictions: dict[Split, Predictions] = {
        "val": Predictions(np.stack(val), pool.labels[pool.val], tuple(pool.images[i].name for i in pool.val)),
        "test": Predictions(np.stack(tested), np.array([i.label for i in test], np.int64), tuple(i.name for i in test)),
    }
    heads = [f.head for f in position.finished]
    seconds = sum(row.seconds for head in heads for row in head.curve)
    result = make_result(job.options, [[head] for head in heads], predictions, seconds)
    weights, _ = checkpoints.load_best(position.finished[result.best].best)
    make_trainer(job, network, start, 0).load(weights)
    kept = {n: t.detach().cpu().contiguous() for n, t in network.backbone.network.state_dict().items()}
    return replace(
        result,
        network=kept,
        from_run=start.name if start is not None else None,
        from_inputs=start.made_from if start is not None else None,
        stages=_stages(job, heads),
    )


def _stages(job: Job, heads: list[TrainedHead]) -> list[dict[str, Any]]:
    """What trained from which epoch on, and how long its epochs took."""
    schedule, found = job.schedule, []
    epochs = max(len(head.curve) for head in heads)
    for number, stage in enumerate(schedule.stages):
        end = schedule.stages[number + 1].epoch if number + 1 < len(schedule.stages) else epochs
        rows = [row for head in heads for row in head.curve if stage.epoch <= row.epoch < end]
        if rows:
            found.append(
                {
                    "epoch": stage.epoch,
                    "blocks": [*schedule.blocks[stage.first :], HEAD],
                    "lr_scale": stage.lr_scale,
                    "seconds_per_epoch": float(np.median([row.seconds for row in rows])),
                }
            )
    return found
