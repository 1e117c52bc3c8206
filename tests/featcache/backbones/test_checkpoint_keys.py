"""Which of a checkpoint's state dicts is taken, under which names: what training scripts leave, and what is named."""

from __future__ import annotations

import argparse
import collections
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_makers import CLASSIFIER, assert_same, before, loaded, saved, small, small_vit, state_of
from torch import nn
from torch.optim.swa_utils import AveragedModel

from featcache.backbones.checkpoint_loading import load_file_into
from featcache.errors import WeightsError

A, B = state_of(1), state_of(2)  # the one that is to be loaded, and another one beside it
PLACES = [
    "state_dict",
    "model",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "teacher",
    "student",
    "ema",
    "net",
    "backbone",
]
PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.", "encoder_q.", "base_model."]
HEAD = {"head.mlp.0.weight": torch.ones(2, 2), "head.last_layer.weight": torch.ones(2, 2)}
OPTIMIZER = {"state": {0: {"momentum_buffer": A["conv1.weight"]}}, "param_groups": [{"lr": 0.1, "params": [0]}]}

LEFT: dict[str, Any] = {
    "timm": {
        "arch": "resnet18",
        "epoch": 3,
        "version": 2,
        "args": argparse.Namespace(model="resnet18"),
        "optimizer": OPTIMIZER,
        "amp_scaler": {"scale": 1.0},
        "state_dict": B,
        "state_dict_ema": A,
        "metric": 81.0,
    },
    "DeiT": {"model": B, "model_ema": A, "optimizer": OPTIMIZER, "lr_scheduler": {}, "args": argparse.Namespace()},
    "MAE": {
        "model": {
            **A,
            "mask_token": torch.ones(1, 1, 4),
            "decoder_embed.weight": torch.ones(2, 2),
            "decoder_blocks.0.norm1.weight": torch.ones(2),
        },
        "args": argparse.Namespace(),
    },
    "DINO": {
        "student": before("module.backbone.", B) | before("module.", HEAD),
        "teacher": before("backbone.", A) | HEAD,
        "dino_loss": {"center": torch.ones(1, 2)},
    },
    "DINOv2": {"teacher": before("backbone.", A) | {"dino_head.mlp.0.weight": torch.ones(2, 2)}},
    "Lightning's WeightAveraging": {
        "state_dict": before("model.", A),
        "current_model_state": before("model.", B),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "MoCo": {
        "arch": "resnet50",
        "state_dict": before("module.encoder_q.", A)
        | before("module.encoder_k.", B)
        | {"module.queue": torch.ones(4, 8), "module.queue_ptr": torch.zeros(1)},
        "optimizer": OPTIMIZER,
    },
    "MoCo v3": {
        "state_dict": before("module.momentum_encoder.", B)
        | before("module.base_encoder.", A)
        | {"module.predictor.0.weight": torch.ones(2, 2)}
    },
    "BYOL": before("target_encoder.net.", B)
    | before("online_encoder.net.", A)
    | {"online_predictor.0.bias": torch.ones(2)},
    "SimSiam": {"state_dict": before("module.encoder.", A) | {"module.predictor.0.weight": torch.ones(2, 2)}},
    "mmpretrain": {
        "meta": {"epoch": 3, "config": "model = dict()"},
        "message_hub": {"log": collections.OrderedDict()},
        "state_dict": before("backbone.", A)
        | {"head.fc.weight": torch.ones(5, 6), "data_preprocessor.mean": torch.ones(3)},
    },
    "Lightning": {
        "state_dict": before("model.", A) | {"criterion.weight": torch.ones(5)},
        "loops": {"fit_loop": {}},
        "hyper_parameters": {"lr": 0.1},
        "pytorch-lightning_version": "2.5.0",
        "callbacks": {"x": {"best": 1}},
    },
    "Lightning, averaged": {"state_dict": before("net.", B) | before("ema_net.", A)},
    "AveragedModel": AveragedModel(small(1)).state_dict(),
    "compiled in DataParallel": before("module._orig_mod.", A),
    "parts compiled and sharded": {k.replace(".", "._orig_mod._fsdp_wrapped_module.", 1): v for k, v in A.items()},
    "a detector": {
        "model": before("backbone.body.", A) | {"backbone.fpn.inner.weight": torch.ones(2), "roi.b": torch.ones(1)}
    },
    "with an epoch's loss": {"loss": torch.tensor(0.3), "model": A},
    "nested": {"model": {"state_dict": {"net": A}}},
}


def network_state(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in state.items() if k not in CLASSIFIER}


@pytest.mark.parametrize("script", LEFT)
def test_what_a_training_script_leaves_is_read(tmp_path: Path, script: str) -> None:
    assert_same(loaded(saved(LEFT[script], tmp_path / "a.pth.tar")), A)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("outer", [None, "model", "checkpoint"])
def test_a_state_dict_is_found_in_its_place(tmp_path: Path, place: str, outer: str | None) -> None:
    content = {place: A, "epoch": 3}
    assert_same(loaded(saved(content if outer is None else {outer: content}, tmp_path / "a.pth")), A)


def test_a_file_that_holds_itself_many_times_is_soon_read(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": A}
    content |= {f"again{i}": content for i in range(200)}  # 200 ** 4 ways to the weights
    assert_same(loaded(saved(content, tmp_path / "a.pth")), A)


@pytest.mark.parametrize("inner", ["", *PREFIXES])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_stack_of_prefixes_is_taken_off(tmp_path: Path, prefix: str, inner: str) -> None:
    assert_same(loaded(saved(before(prefix + inner, A), tmp_path / "a.pth")), A)


@pytest.mark.parametrize("prefix", ["", "encoder.", "module.encoder.", "model.", "backbone.encoder."])
def test_a_network_whose_own_names_begin_so_stays_right(tmp_path: Path, prefix: str) -> None:
    source = small_vit(1)
    assert any(k.startswith("encoder.") for k in source.state_dict())
    path = saved(before(prefix, source.state_dict()), tmp_path / "vit.pth")
    assert_same(loaded(path, small_vit(2)), source.state_dict())


def test_features_and_model_as_own_names_stay_right(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = small(7)
            self.features = small(8)

    source = Net()
    for prefix in ("", "model.", "features."):
        path = saved(before(prefix, source.state_dict()), tmp_path / "a.pth")
        other = Net()
        for tensor in other.state_dict().values():
            tensor.zero_()
        assert_same(loaded(path, other), source.state_dict())


# What is said, and what can be named

NAMED: dict[str, tuple[Any, str, Any]] = {
    "the student": (LEFT["DINO"], "student", B),
    "the teacher": (LEFT["DINO"], "teacher", A),
    "not the average": (LEFT["timm"], "state_dict", B),
    "nested": ({"model": {"student": B, "teacher": A}}, "model.student", B),
    "the last word of a path": ({"model": {"student": B, "teacher": A}}, "student", B),
    "a prefix": (LEFT["MoCo"], "encoder_k", B),
    "a path and a prefix": (LEFT["MoCo"], "state_dict.module.encoder_k", B),
}


@pytest.mark.parametrize("case", NAMED)
def test_another_one_can_be_named(tmp_path: Path, case: str) -> None:
    content, key, expected = NAMED[case]
    assert_same(loaded(f"{saved(content, tmp_path / 'a.ckpt')}:{key}"), expected)


def test_a_network_beside_its_compiled_self_is_not_mixed_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved({**before("_orig_mod.", B), **A}, tmp_path / "a.pth")
    with caplog.at_level(logging.INFO, "featcache"):
        assert_same(loaded(path), B)
    assert "a.pth: read _orig_mod; left out: bn1 (5 tensors)" in caplog.text


@pytest.mark.parametrize("key", ["studen", "student.x", "conv1", ""])
def test_an_unknown_key_lists_those_that_are_there(tmp_path: Path, key: str) -> None:
    path = saved(LEFT["DINO"], tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=rf"has no '{key}'\. It holds teacher\.backbone, student\.module\.backbone"):
        loaded(f"{path}:{key}")


def test_a_bare_state_dict_has_no_key(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no 'model'\. It holds one state dict, without a name"):
        loaded(f"{saved(A, tmp_path / 'a.pth')}:model")


def said_of(content: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.INFO, "featcache"):
        loaded(saved(content, tmp_path / "mine.pth"))
    return "\n".join(r.getMessage() for r in caplog.records)


SAID: dict[str, tuple[str, ...]] = {
    "timm": (
        "mine.pth: read state_dict_ema",
        "also there: state_dict (name one",
        "skipped, not run: argparse.Namespace",
    ),
    "MAE": ("read model", "left out: decoder_blocks, decoder_embed, mask_token"),
    "DINO": ("read teacher.backbone", "also there: student.module.backbone", "left out: head (2 tensors)"),
    "MoCo": (
        "read state_dict.module.encoder_q",
        "also there: state_dict.module.encoder_k",
        "left out: queue, queue_ptr",
    ),
    "compiled in DataParallel": ("read module",),
}


@pytest.mark.parametrize("script", SAID)
def test_what_was_chosen_and_left_out_is_said(tmp_path: Path, script: str, caplog: pytest.LogCaptureFixture) -> None:
    said = said_of(LEFT[script], tmp_path, caplog)
    for part in SAID[script]:
        assert part in said, said


def test_nothing_is_said_of_a_plain_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said_of(A, tmp_path, caplog) == ""


@pytest.mark.parametrize("keep", ["head", "all"])
def test_featcaches_own_models(tmp_path: Path, keep: str) -> None:
    own = {"format_version": 3, "head": {"0.weight": torch.ones(4, 6), "0.bias": torch.ones(4)}, "dims": [6, 4],
           "classes": ["a"], "identities": [], "seed": 0}  # fmt: skip
    tuned = before("network.", network_state(A))
    if keep == "all":  # Phase 2 keeps the backbone that belongs to the head
        assert_same(loaded(saved({**own, "network": tuned}, tmp_path / "best_model.pth")), A)
        return
    with pytest.raises(WeightsError, match="trained a head and left the backbone as it was"):
        loaded(saved({**own, "network": None}, tmp_path / "best_model.pth"))


def test_an_optimizers_tensors_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no state dict"):
        loaded(saved({"optimizer": A, "epoch": 3}, tmp_path / "a.pth"))


def test_a_mismatch_says_where_most_of_the_names_are(tmp_path: Path) -> None:
    state = before("module.trunk.", {k: v for k, v in A.items() if k not in ("conv1.weight", "bn1.bias")})
    with pytest.raises(WeightsError) as caught:
        load_file_into(small(1), CLASSIFIER, str(saved({"model": state}, tmp_path / "a.pth")))
    message = str(caught.value)
    assert "conv1.weight is missing; bn1.bias is missing." in message
    assert "8 of the network's 10 tensors are there under 'model.module.trunk'" in message


FOREIGN: dict[str, tuple[str, str]] = {
    "resnet.embedder.embedder.convolution.weight": ("Hugging Face transformers", "translated"),
    "vit.encoder.layer.0.attention.attention.query.weight": ("Hugging Face transformers", "translated"),
    "backbone.bottom_up.res2.0.conv1.weight": ("detectron2", "translated"),
    "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight": ("OpenMMLab", "translated"),
    "model.model.0.conv.weight": ("Ultralytics", "translated"),
    "Transformer/encoderblock_0/kernel": ("TensorFlow or JAX", "translated"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_names_of_other_libraries_are_recognised(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=f"Its names are those of {FOREIGN[name][0]}, which are not translated"):
        loaded(saved({name: torch.ones(2, 2)}, tmp_path / "a.bin"))


WRONG: dict[str, Callable[[], Any]] = {
    "a deeper network": lambda: {**A, "layer2.0.weight": torch.ones(2)},
    "another width": lambda: {**A, "conv1.weight": torch.ones(8, 3, 3, 3)},
    "quantised": lambda: {**A, "conv1.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)},
    "half of it": lambda: {k: v for k, v in A.items() if k.startswith("conv")},
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_does_not_fit_is_an_error(tmp_path: Path, case: str, prefix: str) -> None:
    with pytest.raises(WeightsError, match="does not fit the network"):
        loaded(saved(before(prefix, WRONG[case]()), tmp_path / "a.pth"))
