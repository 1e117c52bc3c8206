"""A checkpoint in a network: left-over buffers, other input sizes, original repositories' names, and whole runs."""

from __future__ import annotations

import argparse
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from checkpoint_makers import assert_same, filled, loaded, saved, sharded, small_vit, state_of
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table
from timm.models.beit import Beit
from timm.models.maxxvit import MaxxVit, MaxxVitCfg
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from featcache.backbones import describe_backbone, load_backbone
from featcache.errors import WeightsError
from featcache.options import Options
from featcache.options.model_options import ModelOptions

POSITIONS = re.compile(r"pos_embed|pos_embedding|relative_position_bias_table|rel_pos")


def swin(size: int, seed: int) -> Any:
    net = SwinTransformer(
        img_size=size, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=size // 8, num_classes=0
    )
    return filled(net, seed)


def beit(size: int, seed: int) -> Any:
    net = Beit(img_size=size, patch_size=8, embed_dim=8, depth=1, num_heads=2, num_classes=0, use_rel_pos_bias=True,
               use_abs_pos_emb=True, init_values=0.1)  # fmt: skip
    return filled(net, seed)


def maxvit(size: int, seed: int) -> Any:
    config = MaxxVitCfg(embed_dim=(32, 64), depths=(1, 1), block_type=("M", "M"), stem_width=8)
    return filled(MaxxVit(config, img_size=size, num_classes=0), seed)


def vit(size: int, seed: int, **how: Any) -> Any:
    net = VisionTransformer(img_size=size, patch_size=8, embed_dim=8, depth=1, num_heads=2, num_classes=0, **how)
    return filled(net, seed)


def beit_positions(name: str, table: Tensor, network: Any) -> Tensor:
    if name == "pos_embed":
        return resample_abs_pos_embed(table, list(network.patch_embed.grid_size))
    attention = network.get_submodule(name.rpartition(".")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return resize_rel_pos_bias_table(table, attention.window_size, attention.relative_position_bias_table.shape)


RESAMPLED: dict[str, tuple[Callable[[int, int], Any], int, int, Callable[[str, Tensor, Any], Tensor]]] = {
    "vit": (vit, 32, 64, lambda n, t, net: resample_abs_pos_embed(t, [8, 8])),
    "vit, smaller": (vit, 64, 32, lambda n, t, net: resample_abs_pos_embed(t, [4, 4])),
    "beit": (beit, 32, 48, beit_positions),
    "swin": (swin, 32, 64, beit_positions),
    "maxvit": (maxvit, 64, 128, beit_positions),
    "torchvision's vit": (
        lambda size, seed: small_vit(seed, size), 32, 64,
        lambda n, t, net: interpolate_embeddings(64, 8, {"encoder.pos_embedding": t})["encoder.pos_embedding"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", RESAMPLED)
def test_positions_of_another_input_size_are_resampled_and_said(
    tmp_path: Path, kind: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, before, after, resampled = RESAMPLED[kind]
    source, target = make(before, 1).state_dict(), make(after, 2)
    own = {k: v.clone() for k, v in target.state_dict().items()}
    tables = {k: v for k, v in source.items() if POSITIONS.search(k) and v.shape != own[k].shape}
    assert tables
    path = saved({"model": {prefix + k: v for k, v in source.items()}}, tmp_path / "a.pth")
    with caplog.at_level(logging.INFO, "featcache"):
        found = loaded(path, target)
    for name, tensor in found.items():
        expected = resampled(name, source[name], target) if name in tables else source[name]
        assert torch.equal(tensor, expected), name
    (line,) = [r.getMessage() for r in caplog.records if r.name == "featcache"]
    first = next(iter(k for k in own if k in tables))
    assert f"resampled to this input size: {first} from {list(source[first].shape)} to {list(own[first].shape)}" in line


def test_positions_beside_what_pretraining_leaves_are_resampled(tmp_path: Path) -> None:
    source, target = vit(32, 1).state_dict(), vit(64, 2)
    beside = {"mask_token": torch.ones(1, 1, 8), "decoder_pos_embed": torch.ones(1, 17, 8)}
    found = loaded(saved({"model": {**source, **beside}, "args": argparse.Namespace()}, tmp_path / "mae.pth"), target)
    assert_same(found, {**source, "pos_embed": resample_abs_pos_embed(source["pos_embed"], [8, 8])})


def test_an_original_repositorys_names_are_translated_as_timm_does(tmp_path: Path) -> None:
    target = timm.create_model("test_convnext", num_classes=0)
    source = filled(timm.create_model("test_convnext", num_classes=0), 1).state_dict()
    theirs = {}
    for name, tensor in source.items():
        name = name.replace("stem.", "downsample_layers.0.")
        name = re.sub(r"stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2", name)
        name = name.replace("blocks.", "").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        theirs[name.replace("head.norm", "norm")] = tensor
    assert theirs.keys() != source.keys()
    for prefix in ("", "module."):
        path = saved({"model": {prefix + k: v for k, v in theirs.items()}}, tmp_path / "fb.pth")
        assert_same(loaded(path, target), source)


def test_original_swin_is_translated_and_what_is_said_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = swin(32, 1).state_dict()
    theirs = {k.replace("layers.1.downsample", "layers.0.downsample"): v for k, v in source.items()}
    theirs["layers.1.blocks.0.attn_mask"] = torch.ones(4, 2, 2)
    with caplog.at_level(logging.INFO, "featcache"):
        assert_same(loaded(saved({"model": theirs}, tmp_path / "swin.pth"), swin(32, 2)), source)
    assert caplog.messages == ["swin.pth: read model; names translated as the library does for its own weights"]


def test_a_timm_file_without_classifier_is_not_taken_for_an_original_one(tmp_path: Path) -> None:
    source = swin(32, 1)
    assert_same(loaded(saved(source.state_dict(), tmp_path / "swin.pth"), swin(32, 2)), source.state_dict())


def test_left_over_buffers_are_ignored_by_name_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = {"total_ops": torch.zeros(1), "total_params": torch.zeros(1), "conv1.total_ops": torch.zeros(1),
            "layer1.0.attn_mask": torch.ones(2), "layer1.0.relative_position_index": torch.ones(2),
            "layer1.0.relative_coords_table": torch.ones(2)}  # fmt: skip
    path = saved({**state_of(1), **left}, tmp_path / "mine.pth")
    with caplog.at_level(logging.INFO, "featcache"):
        assert_same(loaded(path), state_of(1))
    (line,) = [r.getMessage() for r in caplog.records]
    assert line == (
        "mine.pth: left out: total_ops (2 tensors), attn_mask, relative_coords_table, relative_position_index, "
        "total_params"
    )


def test_a_file_without_counters_fits(tmp_path: Path) -> None:
    state = {k: v for k, v in state_of(1).items() if not k.endswith("num_batches_tracked")}
    found = {k: v for k, v in loaded(saved(state, tmp_path / "a.pth")).items() if k in state}
    assert_same(found, state)


class OwnIndex(nn.Module):
    """As torchvision's swin, which saves the index that it computes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(3))
        self.register_buffer("relative_position_index", torch.arange(size))


def test_a_networks_own_index_is_not_taken_from_another_size(tmp_path: Path) -> None:
    source = filled(OwnIndex(4), 1)
    for state in (source.state_dict(), {"table": source.table.detach()}):
        found = loaded(saved(state, tmp_path / "a.pth"), OwnIndex(9))
        assert torch.equal(found["table"], source.table) and torch.equal(
            found["relative_position_index"], torch.arange(9)
        )


# As a run does it


def options(cache: Path, weights: str, backbone: str = "test_resnet") -> Options:
    return Options.model_validate(
        {"experiment_name": "x", "data": {"path": "x"}, "cache": {"dir": str(cache)},
         "model": {"backbone": backbone, "input_size": 64, "weights": weights}}
    )  # fmt: skip


def test_the_identity_is_that_of_the_tensors_however_they_are_wrapped(tmp_path: Path) -> None:
    state = filled(timm.create_model("test_resnet"), 1).state_dict()
    wrapped = {
        "arch": "test_resnet",
        "args": argparse.Namespace(),
        "state_dict_ema": {f"module.{k}": v for k, v in state.items()},
    }
    files = {
        "plain.pth": state,
        "run.pth.tar": wrapped,
        "half.ckpt": {"model": {k: v.double() for k, v in state.items()}},
    }
    found = {
        load_backbone(
            ModelOptions(backbone="test_resnet", input_size=64, weights=str(saved(c, tmp_path / n)))
        ).info.identity
        for n, c in files.items()
    }
    assert len(found) == 1


def test_each_key_is_a_backbone_of_its_own_in_the_memo(tmp_path: Path) -> None:
    states = {k: filled(timm.create_model("test_resnet"), i).state_dict() for i, k in enumerate(("teacher", "student"))}
    path = saved(states, tmp_path / "dino.pth")
    infos = {end: describe_backbone(options(tmp_path, f"{path}{end}"))[0] for end in ("", ":teacher", ":student")}
    assert infos[""].identity == infos[":teacher"].identity != infos[":student"].identity
    assert [i.origin.label for i in infos.values()] == ["dino.pth", "dino.pth:teacher", "dino.pth:student"]
    for end, info in infos.items():
        again, built = describe_backbone(options(tmp_path, f"{path}{end}"))
        assert built is None and again == info


def test_a_shard_that_changes_is_another_backbone(tmp_path: Path) -> None:
    index = sharded(tmp_path / "model", filled(timm.create_model("test_resnet"), 1).state_dict(), ".bin")
    first, _ = describe_backbone(options(tmp_path, str(index)))
    sharded(tmp_path / "model", filled(timm.create_model("test_resnet"), 2).state_dict(), ".bin")
    second, built = describe_backbone(options(tmp_path, str(index.parent)))
    third, _ = describe_backbone(options(tmp_path, str(index)))
    assert built is not None and first.identity != second.identity == third.identity


def test_a_key_that_is_not_there_stops_a_run(tmp_path: Path) -> None:
    path = saved({"model": filled(timm.create_model("test_resnet"), 1).state_dict()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"has no 'ema'\. It holds model\."):
        describe_backbone(options(tmp_path, f"{path}:ema"))
