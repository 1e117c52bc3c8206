"""An export's README.md, as the model hub wants it: what it is, how good, how fast, how it is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from featcache.counted_nouns import counted
from featcache.records import Split
from heads.export.companion_files import LAYOUTS
from heads.export.export_parity import Parity
from heads.export.made_export import MadeExport
from heads.export.model_inputs import ModelInputs
from heads.export.opened_run import OpenedRun
from heads.export.weights_licence import licence_of
from heads.runs import leakage_lines

CARD = "README.md"
LIBRARIES = {"onnx": "onnx", "torch": "pytorch", "safetensors": "pytorch", "timm": "timm"}  # as the hub calls them
METRICS = {"top1": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
SPLITS: tuple[Split, ...] = ("val", "test")
MOST_CLASSES = 50  # that are listed in the card


@dataclass(frozen=True, eq=False)
class ModelCard:
    """What a card speaks of; `corrected` says what a ranking made of the run's figure, where it is the best of one."""

    run: OpenedRun
    inputs: ModelInputs
    to: str
    made: MadeExport
    parity: Parity
    corrected: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """`README.md` in `folder`."""
        sections = {
            "How good it is": self._figures(),
            "Compared with the run": self._parity(),
            "How fast it is": self._latency(),
            "How to use it": self._usage(),
            "Licence": self._licence(),
        }
        text = [f"---\n{self._front_matter()}\n---", "", *self._model()]
        for heading, lines in sections.items():
            text += ["", f"## {heading}", "", *lines]
        (folder / CARD).write_text("\n".join(text) + "\n", encoding="utf-8")

    @property
    def _summary(self) -> dict[str, Any]:
        return self.run.record.summary

    @property
    def _data(self) -> str:
        """The data set's name."""
        return Path(self._summary["data"]["path"]).name

    def _front_matter(self) -> str:
        """The hub's metadata; of data sets nothing, since the run's are of no hub."""
        results = [
            EvalResult(
                task_type="image-classification",
                dataset_type="image-folder",
                dataset_name=self._data,
                dataset_split=split,
                metric_type="accuracy",
                metric_value=round(self._summary[split]["top1"]["mean"], 4),
            )
            for split in SPLITS
            if self._summary[split]
        ]
        card = ModelCardData(
            license=licence_of(self.run).name,
            library_name=LIBRARIES[self.to],
            pipeline_tag="image-classification",
            tags=["image-classification", self.to, "featcache", *dict.fromkeys(self.run.model.names)],
            metrics=["accuracy"],
            model_name=self.run.record.folder.name,
            eval_results=results,
        )
        return str(card.to_yaml()).strip()

    def _model(self) -> Iterator[str]:
        summary, classes = self._summary, self.run.model.classes
        kept = "fine-tuned" if self.run.model.tuned is not None else "frozen"
        yield from (f"# {self.run.record.folder.name}", "")
        made = f"({summary['source']}, weights {summary['weights']}"
        if self.run.model.maps:
            names = ", ".join(f"`{name}`" for name in self.run.model.names)
            network = f"The weighted average of several heads' probabilities, on {names} {made})"
        else:
            dims = " - ".join(map(str, summary["classifier_dims"]))
            network = f"`{self.run.model.options.model.backbone}` {made}, {kept}) with a head of its own, {dims}"
        yield (
            f"{network}. It tells {counted(len(classes), 'class')} apart, learned from "
            f"{counted(summary['data']['images']['train'], 'image')} of `{self._data}`. Made by featcache, which "
            "using it does not need."
        )
        shown = ", ".join(f"`{name}`" for name in classes[:MOST_CLASSES])
        more = ", .." if len(classes) > MOST_CLASSES else ""
        yield from ("", f"Classes: {shown}{more} (`labels.json`, by the place of their logit).")

    def _figures(self) -> Iterator[str]:
        there = [split for split in SPLITS if self._summary[split]]
        heads = (f"{split}, {counted(self._summary[split]['top1']['n'], 'image')}" for split in there)
        yield f"| | {' | '.join(heads)} |"
        yield f"|---|{'--:|' * len(there)}"
        for metric, name in METRICS.items():
            if all(metric in self._summary[split] for split in there):
                yield f"| {name} | {' | '.join(_interval(self._summary[split][metric]) for split in there)} |"
        yield ""
        yield (
            "In brackets the 95% interval. The run's epoch, and perhaps the run itself, was chosen by its figure on "
            "val, which is why that one flatters; test was read once. All are the run's own; "
            "how far this export is from it is said next."
        )
        yield from self.corrected
        for line in leakage_lines(self._summary).values():
            yield f"Some of these images were {line}."

    def _parity(self) -> Iterator[str]:
        seen = self.parity
        yield (
            f"On {seen.compared_on}, in {seen.runtime}: the same likeliest class for {seen.agreement:.2%} of them; "
            f"logits differ by {seen.largest_difference:.2g} at most, {seen.mean_difference:.2g} on average, where the "
            f"largest is {seen.largest_logit:.3g} (`parity.json`)."
        )
        for note in self.made.notes:
            yield f"{note}."

    def _latency(self) -> Iterator[str]:
        performance = self.run.record.performance
        known, threads = performance["latency_ms"], counted(performance["threads"], "thread")
        yield (
            f"In PyTorch on {performance['device']}, {performance['precision']}, {threads}: {known['p50']:.1f} ms for "
            f"{counted(known['batch_size'], 'image')} (median; 95% within {known['p95']:.1f} ms), "
            f"{performance['macs'] / 1e9:.2f} GMACs. What is in this folder may be faster or slower: `featcache "
            "profile model.onnx` measures an ONNX file."
        )

    def _usage(self) -> Iterator[str]:
        yield from ("In this folder:", "", "```python", self.made.usage.strip(), "```", "")
        for one in self.inputs.every:
            recipe = one.preprocessing
            how = "shorter side" if recipe.resize_mode == "shorter" else "both sides"
            side = recipe.input_size
            yield (
                f"`{one.name}` is {LAYOUTS[self.inputs.kind]}, S = {side}: {how} resized to {recipe.resize_size} "
                f"({recipe.interpolation}), the middle {side} x {side} taken out. `preprocess.py` does that for files "
                "of 8 bits, with Pillow."
            )
        yield (
            f"Logits are divided by the temperature {self.run.temperature:.3f}, fitted on the validation images, so "
            "that their softmax is calibrated."
        )

    def _licence(self) -> Iterator[str]:
        yield (
            f"{licence_of(self.run).said} Whoever trained the head decides about the rest, and about the images that "
            "it learned from."
        )


def _interval(figure: dict[str, Any]) -> str:
    interval = figure["ci95"]
    return f"{figure['mean']:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
