"""Which families export to ONNX: one small member of each, on seeded random weights, with a small head, compared.

A line of JSON for each network goes to --out as soon as it is done; what is there already is not done again. The table
for docs/export.md is printed at the end, and by --table alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featcache.backbones import build_head, make_backbone
from featcache.errors import FeatcacheError
from featcache.options import ModelOptions, Options
from heads.export.compared_images import ComparedImages
from heads.export.export_parity import compare
from heads.export.model_inputs import ModelInputs
from heads.export.onnx_file import open_session, opset_of, write_float32
from heads.export.opened_run import OpenedRun
from heads.runs import Run, RunModel

IMAGES, CLASSES, HIDDEN = 20, 10, 16

TORCHVISION = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn"),
    *("vit_b_16", "wide_resnet50_2"),
)
TIMM = (
    *("resnet10t", "tf_efficientnet_lite0", "mobilenetv3_small_050", "mobilenetv4_conv_small_050", "convnext_atto"),
    *("convnextv2_atto", "vit_tiny_patch16_224", "deit_tiny_patch16_224", "eva02_tiny_patch14_224", "pvt_v2_b0"),
    *("poolformer_s12", "levit_128s", "efficientformerv2_s0", "mobilevit_xxs", "mobilevitv2_050", "edgenext_xx_small"),
    *("fastvit_t8", "repvit_m0_9", "ghostnet_050", "regnety_002", "rexnet_100", "hrnet_w18_small", "cait_xxs24_224"),
    *("xcit_nano_12_p16_224", "coat_lite_tiny", "mixer_s16_224", "resmlp_12_224", "coatnet_nano_rw_224"),
    *("tiny_vit_5m_224", "mambaout_femto", "efficientvit_b0", "hgnetv2_b0", "lcnet_035", "crossvit_tiny_240"),
)
LISTS = {"torchvision": TORCHVISION, "timm": TIMM}


def main() -> None:
    """A line for each network, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="by default every one of the lists")
    parser.add_argument("--out", type=Path, default=Path("export_families.jsonl"))
    parser.add_argument("--table", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    wanted = [(source, name) for source, names in LISTS.items() for name in names]
    done = {(one["source"], one["network"]) for one in read(arguments.out)}
    for source, name in wanted:
        chosen = not arguments.networks or name in arguments.networks
        if not arguments.table and chosen and (source, name) not in done:
            with arguments.out.open("a") as lines:
                lines.write(json.dumps(measure(source, name)) + "\n")
    print(table(wanted, read(arguments.out)))


def measure(source: str, name: str) -> dict[str, Any]:
    """One network exported and compared on images of noise, or why it cannot be."""
    begin = time.perf_counter()
    found: dict[str, Any] = {"source": source, "network": name}
    try:
        found |= parity(source, name)
    except FeatcacheError as error:
        found["reason"] = str(error)
    return {**found, "seconds": round(time.perf_counter() - begin, 1)}


def random_run(source: str, name: str) -> OpenedRun:
    """A network on seeded random weights with a small head, as a finished run is opened."""
    model = ModelOptions(backbone=name, source=source, pretrained=False)
    backbone = make_backbone(model, "float32", "float32")
    head = build_head((backbone.features, HIDDEN, CLASSES), 0.0).eval()
    options = Options(experiment_name=name, model=model, data={"path": "."})
    whole = RunModel(Path(), options, tuple(map(str, range(CLASSES))), (backbone.info.identity,), head, 0, None)
    return OpenedRun(Run(Path(), {}, {}), whole, (backbone,), 1.0)


def noise(run: OpenedRun, images: int = IMAGES) -> torch.Tensor:
    """Pixels uint8 `[images, 3, S, S]` for its network, the same every time."""
    side = run.parts[0].preprocessing.input_size
    return torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8, generator=torch.manual_seed(0))


def parity(source: str, name: str) -> dict[str, Any]:
    """Opset, agreement and largest difference of its export."""
    run = random_run(source, name)
    inputs = ModelInputs.of([run.parts[0].preprocessing], "uint8")
    images = ComparedImages((noise(run),), "noise")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_float32(run, inputs, None, file)
        session = open_session(file)
        expected = run.logits(images.pixels)
        seen = compare(expected, images, inputs, lambda b: session.run(["logits"], {"images": b[0]})[0], "")
        return {
            "side": run.parts[0].preprocessing.input_size,
            "opset": opset_of(file),
            "agreement": seen.agreement,
            "largest_difference": seen.largest_difference,
            "spread": float(np.ptp(expected, axis=0).max()),
        }


def read(file: Path) -> list[dict[str, Any]]:
    """What is done already."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(wanted: list[tuple[str, str]], found: list[dict[str, Any]]) -> str:
    """As docs/export.md has it."""
    known = {(one["source"], one["network"]): one for one in found}
    lines = [
        "| library | network | pixels | opset | top-1 agrees | largest difference | |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for key in wanted:
        lines.append(
            f"| {key[0]} | {key[1]} | {cells(known[key])} |"
            if key in known
            else f"| {key[0]} | {key[1]} | | | | | not run yet |"
        )
    return "\n".join(lines)


def cells(one: dict[str, Any]) -> str:
    """Figures, or the reason why there are none; the difference as a share of what the images make of a logit."""
    if "reason" in one:
        return f"| | | | {one['reason']}"
    share = one["largest_difference"] / one["spread"]
    return f"{one['side']} | {one['opset']} | {one['agreement']:.0%} | {share:.1e} | "


if __name__ == "__main__":
    main()
