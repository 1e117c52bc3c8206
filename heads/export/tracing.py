"""A run's model as one graph with a batch of any size, which both torch.export and ONNX are written from."""

from __future__ import annotations

import torch
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from heads.export.deployed_model import DeployedModel
from heads.export.model_inputs import ModelInputs
from heads.export.opened_run import OpenedRun, failing_as

TRACED_BATCH = 2  # of one, some networks would be traced as if there were never more


def trace(run: OpenedRun, inputs: ModelInputs) -> ExportedProgram:
    """The program; raises WorkError where a network does what cannot be traced."""
    batch = Dim("batch", min=1)
    with failing_as(run, "torch.export"):
        program = torch.export.export(
            DeployedModel(run, inputs),
            inputs.examples(TRACED_BATCH),
            dynamic_shapes={"images": tuple({0: batch} for _ in inputs.every)},
        )
    _forget_sources(program)
    return program


def _forget_sources(program: ExportedProgram) -> None:
    """Each step knows the lines of Python that it comes from, with the paths of this machine: nobody's business where
    the file goes to, and another file for each place that featcache is installed at."""
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
