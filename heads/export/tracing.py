"""A run's model as one graph with a batch of any size, which both torch.export and ONNX are written from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram

from featcache.errors import WorkError
from heads.export.deployed_model import DeployedModel
from heads.export.model_inputs import ModelInputs
from heads.export.opened_run import OpenedRun

TRACED_BATCH = 2  # of one, some networks would be traced as if there were never more


def trace(run: OpenedRun, inputs: ModelInputs) -> ExportedProgram:
    """The program; raises WorkError where a network does what cannot be traced."""
    batch = Dim("batch", min=1)
    with untraceable(run, "torch.export"):
        return torch.export.export(
            DeployedModel(run, inputs),
            inputs.examples(TRACED_BATCH),
            dynamic_shapes={"images": tuple({0: batch} for _ in inputs.every)},
        )


@contextmanager
def untraceable(run: OpenedRun, what: str) -> Iterator[None]:
    """What fails inside is this run's not being exportable; what only warns concerns nobody who exports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # tracers and converters raise whatever they meet
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])
        raise WorkError(
            f"{run.model.options.model.backbone}: {what} cannot make a graph of it ({type(error).__name__}: "
            f"{reason if len(reason) < 300 else f'{reason[:300]} ..'}). --to safetensors keeps the network as it is."
        ) from error
