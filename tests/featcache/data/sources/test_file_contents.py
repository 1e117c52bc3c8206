"""Files of kinds that are not read, and files that are not what their names say: told what they are and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from source_makers import load, make_csv, make_parquet, make_tar, make_zip, pictured

from featcache.errors import DataError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>"
TABLE = b"path,label\ntrain/digit 0/000.png,x\n"


def _tar(file: Path) -> bytes:
    return make_tar(file, [("cat/0.png", b"0"), ("dog/0.png", b"1")]).read_bytes()


def _zip(file: Path) -> bytes:
    return make_zip(file, [("cat/0.png", b"0"), ("dog/0.png", b"1")]).read_bytes()


def _workbook(file: Path) -> bytes:
    """As Excel and its libraries write it: the types of its parts first."""
    return make_zip(file, [("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<workbook/>")]).read_bytes()


def _spreadsheet(file: Path) -> bytes:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED)
        archive.writestr("content.xml", "<x/>")
    return file.read_bytes()


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def _hdf5(file: Path) -> bytes:
    with h5py.File(file, "w") as opened:
        opened["x"] = np.zeros(3)
    return file.read_bytes()


ARRAY = np.arange(12, dtype=np.uint8)

# Name -> what makes it really, and words of what is said of it: what it is, and what to do.
NOT_READ: dict[str, tuple[Callable[[Path], bytes], list[str]]] = {
    "x.tar.bz2": (lambda t: bz2.compress(_tar(t)), ["compressed by bzip2", "Unpack it", "make a zip or a tar.gz"]),
    "x.tar.xz": (lambda t: lzma.compress(_tar(t)), ["compressed by xz", "Unpack it"]),
    "x.7z": (lambda t: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(30), ["a 7z archive", "Unpack it"]),
    "x.rar": (lambda t: b"Rar!\x1a\x07\1\0" + bytes(30), ["a RAR archive", "Unpack it"]),
    "x.xlsx": (_workbook, ["a workbook of Excel", "Save the sheet as CSV"]),
    "x.xls": (lambda t: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), ["an old Office", "Save the sheet as CSV"]),
    "x.ods": (_spreadsheet, ["an OpenDocument spreadsheet", "Save the sheet as CSV"]),
    "x.mat": (lambda t: _saved(lambda s: scipy.io.savemat(s, {"x": ARRAY})), ["MATLAB", "loadmat", "numpy.savez"]),
    "x.h5": (_hdf5, ["an HDF5 file", "h5py", "numpy.savez"]),
    "x.tfrecord": (lambda t: bytes(range(200, 256)), ["a TFRecord file", "KEY.jpg and KEY.cls"]),
    "x.pkl": (lambda t: pickle.dumps({"x": 1}), ["a pickle", "run any code", "numpy.savez"]),
    "x.npy": (lambda t: _saved(lambda s: np.save(s, ARRAY)), ["a single array of NumPy", "numpy.savez"]),
    "x.pt": (lambda t: _saved(lambda s: torch.save({"x": torch.zeros(2)}, s)), ["a file of torch.save"]),
    "x.csv.gz": (lambda t: gzip.compress(TABLE), ["a gzipped file and no tar", "gunzip"]),
    "x.jpg": (
        lambda t: _saved(lambda s: Image.new("L", (4, 4)).save(s, "JPEG")),
        ["a single image", "Name the folder"],
    ),
}

LIES: dict[str, tuple[Callable[[Path], bytes], list[str]]] = {
    "zip.tar": (_zip, ["is a zip, whatever its name says, and no tar", "data.path=zip:"]),
    "tar.zip": (_tar, ["is a tar, whatever its name says, and no zip", "data.path=tar:"]),
    "gz.zip": (lambda t: gzip.compress(_tar(t)), ["is a gzipped tar", "and no zip", "data.path=tar:"]),
    "xz.tar": (lambda t: lzma.compress(_tar(t)), ["compressed by xz", "Unpack it"]),
    "csv.xlsx": (lambda t: TABLE, ["is plain text", "call it .csv"]),
    "xlsx.csv": (_workbook, ["is a workbook of Excel", "and no plain text", "Save the sheet as CSV"]),
    "xlsx.zip": (_workbook, ["is a workbook of Excel", "Save the sheet as CSV"]),
    "npz.zip": (lambda t: _saved(lambda s: np.savez(s, images=ARRAY)), ["arrays of NumPy", "data.path=arrays:"]),
    "npy.npz": (lambda t: _saved(lambda s: np.save(s, ARRAY)), ["a single array of NumPy", "numpy.savez"]),
    "zip.bin": (_zip, ["is a zip", "a kind that is not read (.bin)", "data.path=zip:"]),
    "page.xls": (lambda t: PAGE, ["is an HTML page", "Look at it in a browser"]),
    **{
        f"page.{e}": (lambda t: PAGE, ["is an HTML page", "fetch the file"])
        for e in ("zip", "tar", "npz", "parquet", "csv")
    },
    **{
        f"lfs.{e}": (lambda t: POINTER, ["Git LFS", "git lfs pull"])
        for e in ("zip", "tar.gz", "npz", "parquet", "csv", "bin")
    },
    **{f"empty.{e}": (lambda t: b"", ["is an empty file"]) for e in ("zip", "tar", "npz", "parquet", "h5")},
}


@pytest.mark.parametrize("name", [*NOT_READ, *LIES])
def test_a_file_is_told_what_it_is_and_what_to_do(tmp_path: Path, name: str) -> None:
    make, words = {**NOT_READ, **LIES}[name]
    file = tmp_path / name
    file.write_bytes(make(tmp_path / "temporary"))
    with pytest.raises(DataError) as refused:
        load(file, tmp_path / "cache")
    message = str(refused.value)
    assert message.startswith(f"data.path: {file} is ") and "\n" not in message
    assert all(word in message for word in words), message
    table = make_csv(tmp_path / "t.csv", ["path", "label"], [["a.png", "a"], ["b.png", "b"]])
    with pytest.raises(DataError) as refused:
        load(table, tmp_path / "cache", root=str(file))
    assert str(refused.value) == message.replace("data.path", "data.root")


def test_what_is_advised_works(digits: Path, tmp_path: Path) -> None:
    them = pictured(digits)
    files = [(one.name, one.data) for one in them]
    made = {"zip:": make_zip(tmp_path / "a.zip", files), "tar:": make_tar(tmp_path / "a.tar.gz", files)}
    for kind, file in made.items():
        lying = shutil.copy(file, tmp_path / f"{file.stem}.dat")
        with pytest.raises(DataError) as refused:
            load(lying, tmp_path / "cache")
        advised = str(refused.value).rpartition("data.path=")[2]
        assert advised == f"{kind}{lying}"
        assert len(load(advised, tmp_path / "cache").images) == 84


def test_a_parquet_of_several_that_was_not_fetched_is_named(tmp_path: Path) -> None:
    import pyarrow

    root = tmp_path / "cloned"
    root.mkdir()
    make_parquet(root / "train-0.parquet", pyarrow.table({"image": [b"x"], "label": ["a"]}))
    (root / "train-1.parquet").write_bytes(POINTER)
    with pytest.raises(DataError, match=r"train-1\.parquet is a pointer of Git LFS"):
        load(root, tmp_path / "cache")


def test_a_kind_that_is_said_outright_of_a_name_of_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.dat").write_bytes(TABLE)
    with pytest.raises(DataError, match=r"call it \.csv"):
        load(f"table:{tmp_path / 't.dat'}", tmp_path / "cache")
