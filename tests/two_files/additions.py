# ruff: noqa: E501  (pieces of code as text)
"""One addition of each of the twelve kinds: what somebody changes in a copy of the code, or puts into a package of theirs.

A patch is a file of the copy with what is replaced in it, or, where the file is new, its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

Patch = str | list[tuple[str, str]]
PLUGIN = "planted_package"  # the module of the package that is installed beside


@dataclass(frozen=True)
class Addition:
    """What is changed for one thing to be there."""

    files: dict[str, Patch] = field(default_factory=dict)  # of the copy: two at most
    entry_point: tuple[str, str, str] | None = None  # of the package: group, name, object in PLUGIN

    def apply(self, copy: Path) -> None:
        """Change the copy."""
        for name, patch in self.files.items():
            file = copy / name
            if isinstance(patch, str):
                assert not file.exists(), name
                file.write_text(dedent(patch).lstrip())
                continue
            text = file.read_text()
            for old, new in patch:
                assert text.count(old) == 1, f"{name}: {old!r} stands there {text.count(old)} times"
                text = text.replace(old, new)
            file.write_text(text)


# What the installed package holds: a library of backbones, a measure, a metric and a sampler.
PACKAGE = """
import torch
from optuna.samplers import RandomSampler
from torch import nn

from featcache import Preprocessing
from featcache.separability import Measure
from heads.search import Sampler
from heads.training import Metric


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.features = nn.Sequential(nn.Conv2d(3, 16, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.classifier = nn.Linear(64, 10)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


class Library:
    name = "planted_library"

    def names(self):
        return ["planted_network"]

    def has(self, name):
        return name in self.names()

    def published(self, name):
        return []

    def build(self, name, published, weights_file, input_size):
        return Network(), Preprocessing(input_size=input_size or 32, resize_size=36)


library = Library()
measure = Measure(
    "planted_measure", "planted measure", lambda x: float(x.features.shape[1]), "how many features there are", heading="planted"
)
metric = Metric("planted_metric", "planted metric", lambda logits, labels: (labels >= 0).float(), "1 for every image")
sampler = Sampler("at random, planted", lambda setup: RandomSampler(setup.fresh_seed))
"""

ADDITIONS = {
    "backbone library": Addition(entry_point=("featcache.sources", "planted_library", "library")),
    "measure": Addition(entry_point=("featcache.measures", "planted_measure", "measure")),
    "metric": Addition(entry_point=("featcache.metrics", "planted_metric", "metric")),
    "metric in the code": Addition(
        {
            "heads/training/metrics.py": [
                (
                    "_BUILT_IN = (\n",
                    "_BUILT_IN = (\n"
                    '    Metric("planted_brier", "planted Brier", lambda x, y: (1 - x.softmax(-1).gather(-1, y[..., None])[..., 0]) ** 2, '
                    '"squared doubt of the right class", larger_is_better=False),\n',
                )
            ],
            "featcache/options/training_options.py": [
                ('("val_top1", "val_top3", "val_loss", ', '("val_planted_brier", "val_top1", "val_top3", "val_loss", ')
            ],
        }
    ),
    "measure in the code": Addition(
        {
            "featcache/separability/measures.py": [
                (
                    "_BUILT_IN = (\n",
                    "_BUILT_IN = (\n"
                    '    Measure("planted_spread", "planted spread", lambda x: float(x.features.std()), "spread of all values", '
                    'heading="spread", on_terminal=True),\n',
                )
            ]
        }
    ),
    "sampler": Addition(entry_point=("featcache.samplers", "planted_sampler", "sampler")),
    "augmentation": Addition(
        {
            "featcache/options/augmentation_options.py": [
                (
                    "# What `data.augmentations` can name.",
                    'class Planted(AugmentationSpec):\n    """Turn upside down."""\n\n'
                    '    name: Literal["planted_flip"] = "planted_flip"\n\n\n# What `data.augmentations` can name.',
                ),
                ("    RandomErasing,\n)", "    RandomErasing,\n    Planted,\n)"),
            ],
            "featcache/data/augmentations.py": [
                (
                    "            case _:\n",
                    "            case kind.Planted():\n                image = F.vflip(image)\n            case _:\n",
                )
            ],
        }
    ),
    "objective": Addition(
        {
            "heads/search/objectives.py": [
                (
                    "OBJECTIVES: dict[str, Objective] = {\n",
                    "OBJECTIVES: dict[str, Objective] = {\n"
                    '    "planted_objective": Objective("top-1 twice", maximise=True, value=lambda of: 2 * of.val_top1),\n',
                )
            ]
        }
    ),
    "optimiser": Addition(
        {
            "featcache/options/training_options.py": [
                ('Literal["adamw", "adam", "sgd"]', 'Literal["adamw", "adam", "sgd", "planted_sgd"]')
            ],
            "heads/training/optimisers.py": [
                (
                    "OPTIMISERS: dict[str, Optimiser] = {\n",
                    "OPTIMISERS: dict[str, Optimiser] = {\n"
                    '    "planted_sgd": Optimiser(_sgd, lambda groups, training: torch.optim.SGD(groups, training.learning_rate)),\n',
                )
            ],
        }
    ),
    "leaderboard column": Addition(
        {
            "heads/leaderboard/columns.py": [
                (
                    "    more: Mapping[str, float | None] =",
                    "    planted_column: Annotated[\n        int,\n        Column(\n"
                    '            lambda r: len(r.summary["seeds"]), "how many heads there are", "planted heads", "d",\n'
                    "            at=shown_at(135, 145, 75),\n        ),\n    ]\n"
                    "    more: Mapping[str, float | None] =",
                )
            ]
        }
    ),
    "figure": Addition(
        {
            "heads/report/charts_cost.py": [
                (
                    "def parts(contents: Contents) -> Spec:",
                    "def planted(contents: Contents) -> Spec:\n"
                    '    """Parameters by run."""\n'
                    '    points = [{"run": row.run, "params": row.params} for row in contents.rows]\n'
                    '    mark = {"mark": {"type": "bar"}, "encoding": {"x": {**NUMBER, "field": "params"}, '
                    '"y": {"field": "run", "type": "nominal"}}}\n'
                    '    return chart("Planted figure", points, [mark])\n\n\n'
                    "def parts(contents: Contents) -> Spec:",
                )
            ],
            "heads/report/figures.py": [
                (
                    "FIGURES: tuple[Figure, ...] = (\n",
                    "FIGURES: tuple[Figure, ...] = (\n"
                    '    Figure(name="planted_figure", section="cost", title="Planted figure", make=charts_cost.planted),\n',
                )
            ],
        }
    ),
    "audit finding": Addition(
        {
            "featcache/audit/planted_finding.py": '''
                """Images whose name holds a zero."""

                from collections.abc import Iterable

                from featcache.audit.evidence import Evidence


                def find_planted(evidence: Evidence) -> Iterable[str]:
                    """Their names."""
                    return [i.name for i in evidence.manifest.images if "000" in i.name]
            ''',
            "featcache/audit/findings.py": [
                (
                    "from featcache.audit.unreadable_findings",
                    "from featcache.audit.planted_finding import find_planted\nfrom featcache.audit.unreadable_findings",
                ),
                (
                    "FINDINGS: tuple[Finding, ...] = (\n",
                    "FINDINGS: tuple[Finding, ...] = (\n"
                    '    Finding("planted_finding", "Planted finding", lambda audit: [f"{len(audit.lines(\'planted_finding\'))} '
                    'planted."], find=find_planted),\n',
                ),
            ],
        }
    ),
    "command": Addition(
        {
            "featcache/app/commands/planted.py": '''
                """`featcache planted`: says where runs are."""

                import typer

                from featcache.app.shared_options import Shared, command


                @command("results_dir", "verbose")
                def planted(shared: Shared) -> None:
                    """Say where runs are."""
                    typer.echo(f"planted: {shared.results_dir}")
            ''',
            "featcache/app/main.py": [
                (
                    "from featcache.app.commands.report import report",
                    "from featcache.app.commands.planted import planted\nfrom featcache.app.commands.report import report",
                ),
                ("    *(demo, init,", "    *(planted, demo, init,"),
            ],
        }
    ),
    "option": Addition(
        {
            "featcache/options/data_options.py": [
                (
                    "    batch_size: Count = 32\n",
                    '    planted_note: str = ""\n    """What to remember of these images."""\n    batch_size: Count = 32\n',
                )
            ],
            "heads/runs/run_record.py": [
                (
                    '        "experiment_name": options.experiment_name,\n',
                    '        "experiment_name": options.experiment_name,\n        "planted_note": options.data.planted_note,\n',
                )
            ],
        }
    ),
}
