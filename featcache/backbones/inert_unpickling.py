"""A pickle's bytes in, its plain data and tensors out; nothing that the file names is ever imported or called.

A pickle is a program: it names functions by module and calls them. Here a name is never looked up. Those that build
tensors, arrays and containers have their place in one closed table; any other becomes a class that takes whatever the
file gives it, keeps the settings in it, and does nothing (`Inert`). This is the restriction of globals that Python's
manual recommends (library reference, `pickle`), with stand-ins in the place of errors, so that a training script's
settings do not keep people from their weights.
"""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

# Functions of these run programs or touch files, and no training script's settings name them: an attack.
HARMFUL_MODULES = frozenset(
    {"code", "codeop", "commands", "ctypes", "imp", "importlib", "marshal", "nt", "os", "pdb", "pickle", "_pickle"}
    | {"popen2", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys", "timeit", "webbrowser"}
)
HARMFUL_NAMES = frozenset(
    f"builtins.{name}"
    for name in ("eval", "exec", "execfile", "compile", "open", "file", "input", "__import__", "breakpoint")
) | {"io.open", "_io.open", "io.FileIO", "_io.FileIO"}
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before PyTorch 1.6 begins so
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class HarmfulPickleError(pickle.UnpicklingError):
    """The file names a function that would run code."""


class Inert:
    """In the place of an object of a class that is not known here: it keeps the object's fields, and does nothing."""

    path: ClassVar[str] = ""  # module and name that the file gives
    dump_patches: ClassVar[bool] = False  # torch's reader asks for it before it compares a network's source
    fields: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Any arguments; none is looked at."""
        del args, kwargs
        one = super().__new__(cls)
        object.__setattr__(one, "fields", {})
        return one

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs

    def __setattr__(self, name: str, value: Any) -> None:
        """A pickle can set attributes, `__class__` too: it sets none here."""

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if type(part) is dict:
                self.fields.update({k: v for k, v in part.items() if isinstance(k, str)})

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str):
            self.fields[key] = value

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """A method of it that the file calls does nothing either."""
        del args, kwargs
        return self

    def append(self, item: Any) -> None:
        """A list's item, dropped."""

    def extend(self, items: Any) -> None:
        """A list's items, dropped."""

    def add(self, item: Any) -> None:
        """A set's item, dropped."""


class _Names(dict[Any, Any]):
    """collections.OrderedDict: what is in it and none of its attributes, which could stand before its methods."""

    def __setstate__(self, state: Any) -> None:
        """Nothing of it is kept."""


class _Maker:
    """A function of the table, which no pickle can change: it has no attributes."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"it sets {name} of a function")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._make(*args, **kwargs)


class _ArrayType(Inert):
    """numpy.dtype: the code of a number's type."""

    def __new__(cls, code: Any = "", *args: Any, **kwargs: Any) -> _ArrayType:
        del args, kwargs
        one = object.__new__(cls)
        object.__setattr__(one, "fields", {"code": str(code), "order": "="})
        return one

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.fields["order"] = state[1]

    def of_numbers(self) -> np.dtype[Any] | None:
        """The type, where it is a number's; None for objects, records and text."""
        code = self.fields["code"]
        if re.fullmatch(r"[fiu][1248]|b1", code) is None:
            return None
        dtype: np.dtype[Any] = np.dtype(code).newbyteorder(self.fields["order"])
        return dtype


class _Array(Inert):
    """numpy.ndarray of numbers."""

    def __setstate__(self, state: Any) -> None:
        _version, shape, kind, fortran, content = state
        self.fill(content, kind, shape, "F" if fortran else "C")

    def fill(self, content: Any, kind: Any, shape: tuple[int, ...], order: Any) -> _Array:
        """Take `content`, where it is the bytes of numbers."""
        dtype = kind.of_numbers() if isinstance(kind, _ArrayType) else None
        if dtype is not None and isinstance(content, bytes | bytearray | str):
            raw = content.encode("latin1") if isinstance(content, str) else bytes(content)  # Python 2 had no bytes
            array = np.frombuffer(raw, dtype).reshape(shape, order=order)
            self.fields["tensor"] = torch.from_numpy(array.astype(dtype.newbyteorder("="), order="C"))
        return self


def plain_tensors(value: Any) -> Any:
    """A file's array as the tensor in it; any other value as it is."""
    return value.fields.get("tensor", value) if isinstance(value, _Array) else value


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    """Without the file's hooks and attributes."""
    del rest
    tensor: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)
    return tensor


def _first(value: Any, *rest: Any) -> Any:
    del rest
    return value


def _of_subclass(make: Any, _kind: Any, args: tuple[Any, ...], _state: Any) -> Any:
    if not isinstance(make, _Maker):
        raise pickle.UnpicklingError("it builds a tensor of a kind that is not known here")
    return make(*args)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):  # Python imports others by name
        raise pickle.UnpicklingError(f"it asks for the text encoding {encoding!r}")
    return text.encode("latin1")


def _bytes(content: Any = b"", encoding: str = "latin1") -> bytearray:
    """Not a bare length, which would be so much memory."""
    return bytearray(_encode(content, encoding) if isinstance(content, str) else bytes(content[:]))


def _scalar(kind: Any, content: Any) -> Any:
    dtype = kind.of_numbers() if isinstance(kind, _ArrayType) else None
    return np.frombuffer(content, dtype)[0].item() if dtype is not None and isinstance(content, bytes) else None


_array = _Maker(lambda *_args: _Array())
_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": _Names,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.bytearray": _Maker(_bytes),
    "torch.Size": _Maker(lambda sides=(): tuple(sides)),
    "torch._utils._rebuild_tensor": _Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": _Maker(_tensor),
    "torch._utils._rebuild_parameter": _Maker(_first),
    "torch._utils._rebuild_parameter_with_state": _Maker(_first),
    "torch._tensor._rebuild_from_type_v2": _Maker(_of_subclass),
    "_codecs.encode": _Maker(_encode),
    "numpy.dtype": _ArrayType,
    "numpy.ndarray": _Array,
}
for _package in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_package}.multiarray._reconstruct"] = _array
    _KNOWN[f"{_package}.multiarray.scalar"] = _Maker(_scalar)
    _KNOWN[f"{_package}.numeric._frombuffer"] = _Maker(lambda *args: _Array().fill(*args))
_KNOWN.update({str(t): t for t in vars(torch).values() if isinstance(t, torch.dtype)})


class _Unpickler(pickle.Unpickler):
    left_out: ClassVar[set[str]]

    def find_class(self, module: str, name: str) -> Any:
        """The table's entry of that name, or a class of its own that does nothing."""
        module = PYTHON_2.get(module, module)
        path = f"{module}.{name}"
        if module.partition(".")[0] in HARMFUL_MODULES or path in HARMFUL_NAMES:
            raise HarmfulPickleError(path)
        if path in _KNOWN:
            return _KNOWN[path]
        if path == "torch.storage._load_from_bytes":  # a tensor that pickle.dump wrote: a file of torch's within
            return _Maker(lambda content: read_tensors(io.BytesIO(content), self.left_out))
        self.left_out.add(path)
        return type("Inert", (Inert,), {"path": path})


class _Reader:
    """What `torch.load` takes for a pickle module."""

    def __init__(self, left_out: set[str]) -> None:
        self.__name__ = __name__  # torch asks each pickle module for its name
        self.Unpickler = type("_Unpickler", (_Unpickler,), {"left_out": left_out})

    def load(self, file: Any, **options: Any) -> Any:
        """One pickle of those that a file of torch's old format holds."""
        return self.Unpickler(file, **options).load()


def torch_reads_alone() -> bool:
    """Whether the environment leaves every file to PyTorch's own safe reader, which takes fewer."""
    return os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "").lower() in {"1", "y", "yes", "true"}


def _refuse_other_readers(file: Any) -> None:
    """Raise for what `torch.load` would give to others than the reader above: a TorchScript archive, whose program
    runs as it is loaded, and the tar archives of before 2017. Asked of torch's own view of the file, as Python's of
    a zip archive may be another."""
    head = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if head.startswith(b"PK"):
        scripted = "constants.pkl" in torch._C.PyTorchFileReader(file).get_all_records()
        file.seek(0)
        if scripted:
            raise HarmfulPickleError("a TorchScript program")
    elif head != LEGACY_MAGIC:
        raise pickle.UnpicklingError("it is no file of torch.save")


def read_tensors(file: Any, left_out: set[str]) -> Any:
    """What `torch.save` wrote to the open `file`; adds to `left_out` what stands in it as `Inert`.

    Raises HarmfulPickleError for a file that would run code, and whatever pickle, zip and torch raise for others.
    """
    if torch_reads_alone():
        return torch.load(file, map_location="cpu", weights_only=True)
    _refuse_other_readers(file)
    # torch reads the storages; the pickle goes to the reader above, and never to Python's own.
    return torch.load(file, map_location="cpu", pickle_module=_Reader(left_out), weights_only=False, encoding="latin1")


def read_pickle(file: Any, left_out: set[str]) -> Any:
    """The one pickle in the open `file`, as `pickle.dump` writes it; otherwise as `read_tensors`."""
    return _Reader(left_out).load(file, encoding="latin1")
