"""A store from a stranger: what leads out of the file, or says more than is there, is refused before a read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_store import fill, info, rows, sha
from typer.testing import CliRunner

from featcache.app.main import app
from featcache.errors import ForeignStoreError
from featcache.store import FeatureStore
from featcache.store.file_seal import seal
from featcache.store.verification import describe, repair, verify

SECRET = np.full((3, 8), 7, np.float32)


def secret(file: h5py.File) -> Path:
    """Another file beside the store, with what nobody may read."""
    path = Path(file.filename).parent / "secret.bin"
    path.write_bytes(SECRET.tobytes())
    with h5py.File(path.with_suffix(".hdf5"), "w") as other:
        other["features"] = SECRET
    return path


def external_link(file: h5py.File) -> None:
    file["features"] = h5py.ExternalLink(str(secret(file).with_suffix(".hdf5")), "/features")


def soft_link(file: h5py.File) -> None:
    file["features"] = h5py.SoftLink("/sha256")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 8), np.float32)
    layout[:] = h5py.VirtualSource(str(secret(file).with_suffix(".hdf5")), "features", (3, 8))
    file.create_virtual_dataset("features", layout)


def external_storage(file: h5py.File) -> None:
    file.create_dataset("features", (3, 8), np.float32, external=[(str(secret(file)), 0, SECRET.nbytes)])


def huge(file: h5py.File) -> None:
    file.create_dataset("features", (1 << 40, 8), np.float32, chunks=(4096, 8))


def huge_pieces(file: h5py.File) -> None:
    file.create_dataset("features", (0, 8), np.float32, maxshape=(None, 8), chunks=(1 << 24, 8))


def packed(file: h5py.File) -> None:
    file.create_dataset("features", data=np.zeros((1 << 14, 8), np.float32), chunks=(1 << 12, 8), compression="gzip")


def an_object(file: h5py.File) -> None:
    file.create_dataset("features", data=np.array([file.ref] * 3, dtype=h5py.ref_dtype))


def ragged(file: h5py.File) -> None:
    file.create_dataset("features", (3,), h5py.vlen_dtype(np.float32))


def fields(file: h5py.File) -> None:
    file["features"] = np.zeros((3, 8), [("a", np.float32), ("b", np.float32)])


def wrong_rank(file: h5py.File) -> None:
    file["features"] = np.zeros((3, 8, 8, 8), np.float32)


def odd_attribute(file: h5py.File) -> None:
    file["features"] = SECRET
    file.attrs["identity"] = file.ref


def a_circle(file: h5py.File) -> None:
    file["augmented/a"] = file["/"]


def deep(file: h5py.File) -> None:
    file.create_group("/".join("abcdefgh"))


ATTACKS = [external_link, soft_link, virtual, external_storage, huge, huge_pieces, packed, an_object, ragged, fields]
ATTACKS += [wrong_rank, odd_attribute, a_circle, deep]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = FeatureStore(tmp_path_factory.mktemp("cache"), info())
    fill(store, 1, 2, 3)
    return store.path


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_is_refused_named_and_left_alone(attack: Callable[[h5py.File], None], made: Path, tmp_path: Path) -> None:
    path = tmp_path / made.name
    shutil.copyfile(made, path)
    with h5py.File(path, "r+") as file:
        del file["features"]
        attack(file)
    seal(path)
    before = path.read_bytes()
    store = FeatureStore(tmp_path, info())
    for use in (lambda: FeatureStore.at(path), store.rows, lambda: store.read([sha(1)]), lambda: fill(store, 4)):
        with pytest.raises(ForeignStoreError, match=r"Nothing of it was read\. Remove it") as refused:
            use()
        assert refused.value.exit_code == 2
    verdict = verify(path)
    assert verdict.foreign and "Nothing of it was read" in describe(verdict)
    assert not repair(verdict) and path.read_bytes() == before
    shown = CliRunner().invoke(app, ["cache", "list", "--cache-dir", str(tmp_path)])
    assert shown.exit_code == 0, shown.output


def test_with_a_broken_seal_it_is_damaged_and_repair_removes_it(made: Path, tmp_path: Path) -> None:
    path = tmp_path / made.name
    shutil.copyfile(made, path)
    with h5py.File(path, "r+") as file:
        del file["features"]
        external_link(file)
    verdict = verify(path)
    assert "DAMAGED" in describe(verdict) and "external link" in describe(verdict)
    assert repair(verdict) and not path.exists()


def test_what_featcache_writes_is_plain(made: Path) -> None:
    store = FeatureStore(made.parent, info())
    assert np.array_equal(store.read([sha(2)]), rows(2))
    assert verify(made).ok
