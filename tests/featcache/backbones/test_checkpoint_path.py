"""Files, folders, indices of shards and keys behind a colon: which files `model.weights` means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoint_makers import assert_same, before, loaded, saved, sharded, state_of
from safetensors.torch import save_file

from featcache.backbones.checkpoint_path import names_file, parts_of, split_key
from featcache.errors import WeightsError

ENDINGS = pytest.mark.parametrize("ending", [".safetensors", ".bin"])


@ENDINGS
@pytest.mark.parametrize("named", ["index", "folder", "shard"])
def test_shards_are_read_together(tmp_path: Path, ending: str, named: str) -> None:
    index = sharded(tmp_path / "model", before("model.", state_of(1)), ending)
    shard = next(p for p in index.parent.iterdir() if "-00002-of" in p.name)
    where = {"index": index, "folder": index.parent, "shard": shard}[named]
    assert_same(loaded(where), state_of(1))
    assert len(parts_of(where)) == 2 and names_file(str(where))


def test_safetensors_come_first_where_a_folder_has_both(tmp_path: Path) -> None:
    sharded(tmp_path, state_of(2), ".bin")
    sharded(tmp_path, state_of(1), ".safetensors")
    assert_same(loaded(tmp_path), state_of(1))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_the_hub_with_one_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_file(state_of(1), path) if name.endswith("safetensors") else torch.save(state_of(1), path)
    assert_same(loaded(tmp_path), state_of(1))


@pytest.mark.parametrize("shard", ["../evil.bin", "/etc/passwd", "a/b.bin", "..\\evil.bin", "..", ""])
@pytest.mark.parametrize("named", ["index", "folder"])
def test_shards_outside_the_folder_are_refused(tmp_path: Path, shard: str, named: str) -> None:
    torch.save(state_of(1), tmp_path / "evil.bin")
    folder = tmp_path / "model"
    folder.mkdir()
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"conv1.weight": shard}}))
    with pytest.raises(WeightsError, match=r"lists the shard .*, which leaves its folder"):
        loaded(index if named == "index" else folder)


@ENDINGS
def test_a_missing_shard_is_named(tmp_path: Path, ending: str) -> None:
    index = sharded(tmp_path, state_of(1), ending)
    gone = next(p for p in tmp_path.iterdir() if "-00002-of" in p.name)
    gone.unlink()
    with pytest.raises(WeightsError, match=f"lists 2 shards and 1 of them does not lie beside it: {gone.name}"):
        loaded(index)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_what_is_no_index_is_said(tmp_path: Path, content: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(WeightsError, match="is no index of shards"):
        loaded(index)


def test_a_folder_without_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is a folder without model\.safetensors, pytorch_model\.bin or an index"):
        loaded(tmp_path)


def test_a_file_really_named_with_a_colon_is_that_file(tmp_path: Path) -> None:
    content = {"student": state_of(1), "teacher": state_of(2)}
    torch.save({"model": state_of(3)}, tmp_path / "run.pth:student")
    assert_same(loaded(tmp_path / "run.pth:student"), state_of(3))
    saved(content, tmp_path / "run.pth")
    assert_same(loaded(f"{tmp_path}/run.pth:teacher"), state_of(2))
    assert_same(loaded(f"{tmp_path}/run.pth:student"), state_of(3))  # still the file
    saved(content, tmp_path / "at:12.pth")
    assert_same(loaded(f"{tmp_path}/at:12.pth"), state_of(2))
    assert_same(loaded(f"{tmp_path}/at:12.pth:student"), state_of(1))


@pytest.mark.parametrize(
    ("weights", "path", "key"),
    [
        ("gone.pth:student", "gone.pth", "student"),
        ("gone.ckpt:model.student", "gone.ckpt", "model.student"),
        ("run/checkpoint-12.pth.tar:state_dict", "run/checkpoint-12.pth.tar", "state_dict"),
        ("gone.pth", "gone.pth", None),
        ("IMAGENET1K_V1", "IMAGENET1K_V1", None),
        ("a:b", "a:b", None),
    ],
)
def test_what_stands_behind_the_colon(weights: str, path: str, key: str | None) -> None:
    assert split_key(weights) == (Path(path), key)


def test_published_names_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "IMAGENET1K_V1").mkdir()  # an empty folder of that name takes nothing away
    assert not any(map(names_file, ["IMAGENET1K_V1", "a1_in1k", "r160_in1k"]))
    assert all(
        map(names_file, ["a.pth", "a.ckpt:student", "a.pth.tar", "a.pkl", "./a", "model.safetensors.index.json"])
    )
