"""Files of every kind: what is in them is read, what would run is not, and what is none of it is one clear reason."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pathlib
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_makers import assert_same, before, loaded, saved, small, small_vit, state_of
from safetensors.torch import save_file
from torch import nn

from featcache.backbones.checkpoint_file import read_checkpoint
from featcache.backbones.inert_unpickling import HarmfulPickleError, Inert, read_tensors
from featcache.errors import WeightsError

LEGACY = {"_use_new_zipfile_serialization": False}
FORMATS = pytest.mark.parametrize("how", [{}, LEGACY], ids=["zip", "legacy"])


class Settings(dict[str, Any]):
    """As yacs, Lightning, mmengine and easydict have them."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.__dict__["frozen"] = True


class Loss(nn.Module):
    pass


# What training scripts leave beside the weights: each is data of classes that torch's own safe reader refuses.
BESIDE: dict[str, Any] = {
    "Namespace": argparse.Namespace(model="resnet18", lr=0.1, data=pathlib.Path("/data")),
    "path": pathlib.PurePosixPath("/data"),
    "NumPy number": np.float32(3),
    "NumPy array": np.arange(6.0).reshape(2, 3),
    "NumPy texts": np.array(["cat", "dog"]),
    "NumPy objects": np.array([1, "x", None], dtype=object),
    "random states": [random.getstate(), np.random.get_state(), torch.get_rng_state()],
    "dict subclass": Settings({"MODEL": Settings({"NAME": "swin"})}),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "a loss": Loss(),
    "a bound method": "x".upper,
    "a device": torch.device("cpu"),
    "sets": [{1}, frozenset({2})],
    "a tensor with attributes": nn.Parameter(torch.ones(2)),
}


@FORMATS
@pytest.mark.parametrize("beside", BESIDE)
def test_weights_are_read_whatever_lies_beside_them(tmp_path: Path, beside: str, how: dict[str, Any]) -> None:
    path = saved({"state_dict": state_of(1), "epoch": 3, "args": BESIDE[beside]}, tmp_path / "a.pth.tar", **how)
    assert_same(loaded(path), state_of(1))


def test_settings_are_kept_as_data_and_their_classes_are_named(tmp_path: Path) -> None:
    file = read_checkpoint(saved({"a": torch.ones(1), "args": BESIDE["Namespace"]}, tmp_path / "a.pth"))
    assert type(file.content["args"]).__mro__[1] is Inert
    assert file.content["args"].fields["model"] == "resnet18" and file.content["args"].fields["lr"] == 0.1
    assert file.left_out == ("argparse.Namespace", "pathlib.PosixPath")


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_arrays_or_tensors_is_read(tmp_path: Path, protocol: int) -> None:
    state: dict[str, Any] = state_of(1)
    arrays = {k: np.asfortranarray(v.numpy()) for k, v in state.items()}
    for name, content in (("arrays", arrays), ("tensors", state)):
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickle.dumps({"model": content, "__author__": "someone"}, protocol))
        if protocol == 0 and name == "arrays":
            continue  # text: begins like any text, and nobody saves weights so
        if protocol >= 2:
            assert_same(loaded(path), state_of(1))


def test_big_endian_and_double_arrays_are_the_same_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({k: v.numpy().astype(">f8") for k, v in state_of(1).items() if "tracked" not in k}))
    assert_same({k: v for k, v in loaded(path).items() if "tracked" not in k}, state_of(1))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_any_pickle_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    assert_same(loaded(saved(state_of(1), tmp_path / "a.pth", pickle_protocol=protocol)), state_of(1))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_other_kinds_of_floats_become_float32(tmp_path: Path, kind: torch.dtype, ending: str) -> None:
    state = {k: v.to(kind) if v.is_floating_point() else v for k, v in state_of(1).items()}
    path = tmp_path / f"a{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    assert_same(loaded(path), {k: v.float() if v.is_floating_point() else v for k, v in state.items()})


def test_the_content_counts_and_not_the_ending(tmp_path: Path) -> None:
    save_file(state_of(1), tmp_path / "a.pth")
    assert_same(loaded(tmp_path / "a.pth"), state_of(1))
    assert_same(loaded(saved(state_of(2), tmp_path / "b.safetensors")), state_of(2))


# What would run


class Call:
    """Unpickled, it calls `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def attacks(marker: Path) -> dict[str, Any]:
    touch = f"touch {marker}"
    write = f"__import__('pathlib').Path({str(marker)!r}).write_text('x')"
    return {
        "os.system": Call(os.system, touch),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "open": Call(open, str(marker), "w"),
        "subprocess": Call(subprocess.check_output, ["touch", str(marker)]),
        "import": Call(__import__, "subprocess"),
        "pickle within": Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
        "in a tuple": (1, [Call(os.system, touch)]),
        "as a key": {(Call(os.system, touch), 1): 2},
        "in torch": Call(torch.load, io.BytesIO),
        "in numpy": Call(np.save, str(marker), [1]),
        "in pathlib": Call(pathlib.Path.touch, marker),
    }


NAMED = ("os.system", "eval", "exec", "open", "subprocess", "import", "pickle within", "in a tuple", "as a key")


@FORMATS
@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_nothing_of_a_file_runs(tmp_path: Path, attack: str, how: dict[str, Any]) -> None:
    marker = tmp_path / "ran"
    content = {"state_dict": state_of(1), "args": attacks(marker)[attack]}
    path = saved(content, tmp_path / "evil.pth", **how)
    if attack in NAMED:
        with pytest.raises(WeightsError, match=r"evil\.pth is not read: it names \S+, which would run code") as caught:
            loaded(path)
        assert "weights_only" not in str(caught.value)
    else:
        assert_same(loaded(path), state_of(1))
    plain = tmp_path / "evil.pkl"
    plain.write_bytes(pickle.dumps(content["args"]))
    with pytest.raises(WeightsError):
        loaded(plain)
    assert not marker.exists() and not Path(f"{marker}.npy").exists()


def test_the_attacks_do_run_where_python_unpickles_them(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for name in ("os.system", "eval", "exec", "subprocess", "pickle within"):
        pickle.loads(pickle.dumps(attacks(marker)[name]))
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",  # GLOBAL, REDUCE
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",  # STACK_GLOBAL
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00trueo.",  # OBJ
        b"\x80\x02c__builtin__\neval\nX\x03\x00\x00\x001+1\x85R.",  # Python 2's name
        b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00clear\x4e\x73b.",  # BUILD on a class
        b"\x80\x02ctorch._utils\n_rebuild_tensor\nN}X\x05\x00\x00\x00_makeK\x01s\x86b.",  # BUILD on a function
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.",  # a codec is imported by name
        b"\x80\x02cx\ny\n)\x81N}X\x09\x00\x00\x00__class__c__builtin__\nlist\ns\x86b.",  # an inert object's class
    ],
    ids=["global", "stack global", "inst", "obj", "python 2", "posix", "class", "function", "codec", "inert"],
)
@pytest.mark.parametrize("place", ["pickle", "zip"])
def test_programs_by_hand_are_refused(tmp_path: Path, program: bytes, place: str) -> None:
    path = tmp_path / "hand.pth"
    if place == "pickle":
        path.write_bytes(program if program[:1] == b"\x80" else b"\x80\x02" + program)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hand/data.pkl", program)
            archive.writestr("hand/version", "3\n")
            archive.writestr("hand/byteorder", "little")
    made = collections.OrderedDict(a=1)
    with pytest.raises(WeightsError, match=r"hand\.pth (is not read|cannot be read|holds no state dict)"):
        loaded(path)
    assert dict(made) == {"a": 1} and collections.OrderedDict.clear


@pytest.mark.parametrize("name", ["items", "keys", "__iter__"])
def test_a_dicts_methods_stay_its_own(tmp_path: Path, name: str) -> None:
    class Mapped:
        def __reduce__(self) -> Any:
            return collections.OrderedDict, (list(state_of(1).items()),), {name: argparse.Namespace()}

    assert_same(loaded(saved(Mapped(), tmp_path / "a.pth")), state_of(1))


def test_a_few_bytes_do_not_ask_for_all_memory(tmp_path: Path) -> None:
    saved({"state_dict": state_of(1), "args": Call(bytearray, 1 << 50)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth cannot be read.*TypeError"):
        loaded(tmp_path / "a.pth")
    content = {"state_dict": state_of(1), "args": [bytearray(b"ab"), bytearray()]}
    assert read_checkpoint(saved(content, tmp_path / "b.pth")).content["args"] == [bytearray(b"ab"), bytearray()]


def test_what_a_file_names_is_not_imported(tmp_path: Path) -> None:
    assert "antigravity" not in sys.modules
    path = tmp_path / "a.pkl"
    content = pickle.dumps({"model": {k: v.numpy() for k, v in state_of(1).items()}}, 2)
    path.write_bytes(content[:-1] + b"X\x04\x00\x00\x00argscantigravity\nfly\n)Rs.")
    assert read_checkpoint(path).left_out == ("antigravity.fly",)
    assert "antigravity" not in sys.modules


def test_pickles_hidden_in_the_archive_are_never_looked_at(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = saved(state_of(1), tmp_path / "a.pth")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/hidden.pkl", pickle.dumps(Call(os.system, f"touch {marker}")))
        archive.writestr("a/code.py", f"open({str(marker)!r}, 'w')")
    assert_same(loaded(path), state_of(1))
    assert not marker.exists()


def test_an_environment_that_allows_only_torchs_own_reader_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    assert_same(loaded(saved({"state_dict": state_of(1)}, tmp_path / "a.pth")), state_of(1))
    path = saved({"state_dict": state_of(1), "args": BESIDE["Namespace"]}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"b\.pth cannot be read\. PyTorch's own reader refuses it") as caught:
        loaded(path)
    assert "weights_only=" not in str(caught.value) and "safe_globals" not in str(caught.value)


# What is no state dict


def whole(path: Path) -> Path:
    return saved(small(1), path)


@FORMATS
@pytest.mark.parametrize("place", [None, "model"])
def test_a_whole_network_is_refused_with_the_line_that_takes_it_apart(
    tmp_path: Path, how: dict[str, Any], place: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small(1)
    path = saved(network if place is None else {place: network}, tmp_path / "whole.pth", **how)
    with pytest.raises(WeightsError, match=r"holds a whole network \(checkpoint_makers\.SmallNet\)") as caught:
        loaded(path)
    line = str(caught.value).partition('python -c "')[2].partition('"')[0]
    monkeypatch.chdir(tmp_path)
    exec(line)  # as the user would
    assert_same(loaded(tmp_path / "whole_state.pth"), network.state_dict())


def test_a_whole_networks_own_parameters_are_not_taken_for_a_state_dict(tmp_path: Path) -> None:
    network = small_vit(1)  # its class token is a parameter of the network itself
    with pytest.raises(WeightsError, match=r"holds a whole network \(torchvision\.models\.vision_transformer\.Vision"):
        loaded(saved(network, tmp_path / "whole.pth"), small_vit(2))


def torchscript(path: Path) -> Path:
    torch.jit.trace(small(1), torch.ones(1, 3, 8, 8)).save(str(path))
    return path


def test_torchscript_is_refused_with_the_line_that_takes_it_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = torchscript(tmp_path / "script.pt")
    with pytest.raises(WeightsError, match="is a TorchScript archive") as caught:
        loaded(path)
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).partition('python -c "')[2].partition('"')[0])
    assert_same(loaded(tmp_path / "script_state.pth"), small(1).state_dict())


def test_a_torchscript_program_within_a_file_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = torchscript(tmp_path / "script.pt").read_bytes()
    ran: list[Any] = []
    monkeypatch.setattr(torch.jit, "load", lambda *args, **_: ran.append(args))
    within = {"state_dict": Call(torch.storage._load_from_bytes, content)}
    pickled = tmp_path / "evil.pkl"
    pickled.write_bytes(pickle.dumps(within))
    for path in (pickled, saved(within, tmp_path / "evil.pth")):
        with pytest.raises(WeightsError, match="is not read: it names a TorchScript program, which would run code"):
            loaded(path)
    with pytest.raises(HarmfulPickleError):  # whatever else finds in the archive
        read_tensors(io.BytesIO(content), set())
    assert not ran


OTHERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty: the download or the copy failed"),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "denied": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "is a Git LFS pointer.*git lfs pull",
    ),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(64), "is a Keras model"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:" + bytes(64), "is an ONNX model"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "is compressed with gzip"),
    "text": (b"not weights at all", "begin with b'not weig'"),
    "cut zip": (b"PK\x03\x04" + bytes(200), "breaks off after 204 bytes"),
    "cut pickle": (pickle.dumps({"a": list(range(99))})[:40], "breaks off early"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_what_is_no_checkpoint_is_one_reason(tmp_path: Path, kind: str, ending: str) -> None:
    content, reason = OTHERS[kind]
    path = tmp_path / f"odd{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"(?s)odd\.\w+ cannot be read\. .*{reason}"):
        loaded(path)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_half_a_download_is_said(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "half.pth"
    if kind == "safetensors":
        save_file(state_of(1), path)
    else:
        saved(state_of(1), path, **(LEGACY if kind == "legacy" else {}))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=r"half\.pth cannot be read\. It breaks off") as caught:
        loaded(path)
    assert "\x1b" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_no_message_has_escape_codes_or_advice_to_read_unsafely(tmp_path: Path) -> None:
    path = tmp_path / "odd.pkl"
    for content in (pickle.dumps([1])[:-1] + b"\xff.", b"\x80\x02\xff", b"\x80\x05\x95", pickle.dumps(Loss)):
        path.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            loaded(path)
        assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value) and "safe_globals" not in str(caught.value)


def test_npz_and_keras_archives_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    with pytest.raises(WeightsError, match="is a NumPy archive"):
        loaded(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(WeightsError, match="is a Keras model"):
        loaded(tmp_path / "a.keras")


def test_a_prefix_of_another_world_does_not_hide_weights(tmp_path: Path) -> None:
    assert_same(loaded(saved(before("x.y.", state_of(1)), tmp_path / "a.pth")), state_of(1))
