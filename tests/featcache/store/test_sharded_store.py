"""A store in parts, in a folder and on a real S3 server: readers see one store, and only what is committed."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import h5py
import numpy as np
import pytest
from s3_server import s3_server
from test_store import fill, info, rows, sha

from featcache.errors import FeatcacheError, InputError, NonFiniteError, StoreError
from featcache.options import cache_folder
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest
from featcache.store import FeatureStore, Shard, ShardedStore, object_storage, store_at, store_in, verify
from featcache.store.part_files import Parts
from featcache.store.row_index import RowIndex

NewCache = Callable[[], Path]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


NUMBERS = count()


@pytest.fixture(params=["folder", "s3"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of an empty cache: a shared one, or one in a bucket."""
    if request.param == "folder":
        return tmp_path / "shared"
    return cache_folder(f"{request.getfixturevalue('s3')}/cache {next(NUMBERS)}")


def sharded(cache: Path, rows_a_part: int = 3) -> ShardedStore:
    store = store_in(cache, info(), rows_a_part)
    assert isinstance(store, ShardedStore)
    return store


def manifest_of(root: Path, *numbers: int) -> Manifest:
    images = (ImageRecord(FilePlace.at(root / f"{n}.png"), f"{n}.png", sha(n), n % 2, "train") for n in numbers)
    return Manifest(root.name, root, ("cat", "dog"), tuple(images))


def test_readers_see_what_one_file_would_show(cache: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, 5, 1, 7)
    views = np.stack([rows(n, n + 1) for n in (9, 5)])
    single, store = FeatureStore(tmp_path / "single", info()), sharded(cache)
    for one in (single, store):
        with one.writing() as writer:
            writer.append([sha(n) for n in (5, 1, 9, 4, 7)], rows(5, 1, 9, 4, 7))
            writer.append([sha(9), sha(5)], views, "abcd1234")
            writer.profiles["key"] = {"latency": 1.5}
            writer.extraction = {"images": 5}
        fill(one, 70_000)  # float32 from here on
        one.save_profiles({"more": {}})
        one.save_dataset(manifest)
    store = ShardedStore.at(store.path)  # as another process finds it
    assert store.info == single.info and store.dtype() == single.dtype() == "float32"
    assert store.rows() == single.rows() and store.rows("abcd1234") == single.rows("abcd1234")
    wanted = [sha(n) for n in (4, 70_000, 5, 4)]
    assert np.array_equal(store.read(wanted), single.read(wanted))
    assert np.array_equal(store.read([sha(5), sha(9)], "abcd1234"), single.read([sha(5), sha(9)], "abcd1234"))
    assert store.profiles() == single.profiles() and store.extraction() == single.extraction()
    assert store.precision_loss() == pytest.approx({"max_abs": 10 + 7 / 16, "max_relative_error": 0.0}, abs=1e-3)
    assert store.dataset(manifest.fingerprint) == single.dataset(manifest.fingerprint) == manifest
    assert [record.rows for record in store.committed()] == [3, 2, 1]
    assert store.lacking([sha(1), sha(2)]) == [sha(2)]
    with pytest.raises(StoreError, match="no row for 1 of 2 images"):
        store.read([sha(1), sha(2)])
    assert isinstance(store_at(store.path), ShardedStore) and verify(store.path).ok
    again = sharded(cache)
    for numbers in (range(20, 24), range(24, 31)):  # by the same object: parts are as large as they are to be
        fill(again, *numbers)
    assert [record.rows for record in store.committed()] == [3, 2, 1, 3, 1, 3, 3, 1]
    with pytest.raises(StoreError, match="no such store"):
        store_at(store.path.with_name("other-32-00000000.h5"))


def test_of_data_sets_with_the_same_images_the_last_written_is_given(tmp_path: Path) -> None:
    store = sharded(tmp_path / "cache")
    first = manifest_of(tmp_path, 1, 2)
    store.save_dataset(first)  # there are no rows that it could be a table of
    assert not store.exists()
    fill(store, 1, 2)
    renamed = replace(first, images=tuple(replace(i, name=f"x/{i.name}") for i in first.images))
    for one in (first, renamed, first):
        store.save_dataset(one)
        store.save_dataset(one)  # once is enough
        assert [i.name for i in store.dataset(one.fingerprint).images] == [i.name for i in one.images]
    assert [record.number for record in store.every_dataset()] == [1, 2, 3]
    with pytest.raises(StoreError, match="knows no data set 00000000"):
        store.dataset("0" * 64)


def test_a_part_is_a_stores_file_to_anyone_with_h5py(tmp_path: Path) -> None:
    store = sharded(tmp_path)
    fill(store, 1, 2, 3)
    (part,) = store.path.with_suffix("").glob("part-*.h5")
    with h5py.File(part) as file:
        assert json.loads(file.attrs["identity"])["backbone"] == "net/work"
        assert np.array_equal(file["features"][:], rows(1, 2, 3).astype(np.float16))
        assert file["sha256"][1].tobytes().hex() == sha(2)
    assert not list(tmp_path.glob("*.h5")) and not store.path.with_suffix(".parts").exists()


def test_a_shard_is_whole_or_not_there_and_counts_once(cache: Path) -> None:
    store, other = sharded(cache), sharded(cache)
    shard = Shard.of(0, [sha(1), sha(2)])
    with pytest.raises(ZeroDivisionError), store.shard(shard) as writer:
        writer.append([sha(1)], rows(1))
        writer.commit()
        raise ZeroDivisionError
    bad = rows(2)
    bad[0, 3] = np.nan
    with pytest.raises(NonFiniteError, match=sha(2)), store.shard(shard) as writer:
        writer.append([sha(2)], bad)
    assert not store.has(shard) and not store.exists()
    with store.shard(shard) as first, other.shard(shard) as late:
        first.append([sha(1), sha(2)], rows(1, 2))
        late.append([sha(1), sha(2)], rows(1, 2) * 1.01)  # as of another kind of device
    assert (first.committed, late.committed) == (0, 2) and store.has(shard)  # the inner block ended first
    assert np.allclose(store.read([sha(1), sha(2)]), rows(1, 2) * 1.01, rtol=1e-3)
    with other.shard(Shard.of(7, [sha(2), sha(3)])) as writer:  # a range that overlaps
        writer.append([sha(2), sha(3)], rows(2, 3))
        writer.append([sha(3)], rows(8, 9)[None], "abcd1234")
    assert writer.committed == 3 and other.has(Shard.of(7, [sha(2), sha(3)]), "abcd1234")
    assert list(store.rows().values()) == [0, 1, 2] and np.array_equal(store.read([sha(3)]), rows(3))
    assert len(store.place.listed()) == 6  # nothing is left of the late one
    again = store.read([sha(1), sha(2)])
    assert np.allclose(again, rows(1, 2) * 1.01, rtol=1e-3)  # of a content that is in two parts the first counts


SCRIPT = """
    import os, signal, sys
    from itertools import count
    from pathlib import Path
    sys.path[:0] = [sys.argv[2], sys.argv[3]]
    from test_sharded_store import cache_folder, fill, info, rows, sha, sharded, Shard

    def child(work):
        process = os.fork()
        if not process:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        return process

    def killing(target, name, calls, at):
        called = getattr(target, name)
        def instead(*arguments, **named):
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return called(*arguments, **named)
        setattr(target, name, instead)
"""


def run_script(script: str, place: str, *more: str) -> str:
    """In a process that has no threads yet, so that it may fork."""
    here = Path(__file__).parent
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT) + textwrap.dedent(script), place]
    command += [str(here), str(here.parents[1]), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


RACE = """
    def commit(who):
        store = sharded(cache_folder(sys.argv[1]))
        for n in range(0, 12, 2):  # the first half is what both do
            first = n if n < 6 else n + 20 * who
            with store.shard(Shard.of(first, [sha(first), sha(first + 1)])) as writer:
                writer.append([sha(first), sha(first + 1)], rows(first, first + 1))

    running = [child(lambda who=who: commit(who)) for who in (1, 2)]
    assert [os.waitpid(one, 0)[1] for one in running] == [0, 0]
"""


@pytest.mark.parametrize("cache", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_two_processes_that_commit_at_once_both_land(cache: Path) -> None:
    store = sharded(cache)
    run_script(RACE, store.where.removesuffix(f"/{store.path.stem}"))
    numbers = [*range(6), *range(26, 32), *range(46, 52)]
    assert sorted(store.rows()) == sorted(sha(n) for n in numbers)
    assert np.array_equal(store.read([sha(n) for n in numbers]), rows(*numbers))
    assert len(store.committed()) == 9 and len(store.place.listed()) == 18 and verify(store.path).ok


KILL = """
    def write(place, step):
        store = sharded(cache_folder(place))
        calls = count()
        system = getattr(store.place, "_system", None)
        for name in sys.argv[4].split():
            killing(system or os, name, calls, step)
        fill(store, 5, 1, 9, 4)

    for step in count():
        end = os.waitpid(child(lambda: write(f"{sys.argv[1]}-{step}", step)), 0)[1]
        if end == 0:
            break
        assert os.WTERMSIG(end) == signal.SIGKILL
    print(step)
"""


@pytest.mark.parametrize(
    ("cache", "calls", "least"),
    [
        ("folder", "link replace", 9),
        pytest.param("folder", "fsync link replace unlink pwrite", 30, marks=pytest.mark.slow),
        pytest.param("s3", "pipe_file put_file rm_file", 8, marks=pytest.mark.slow),
    ],
    indirect=["cache"],
)
def test_a_writer_that_is_killed_at_any_step_leaves_nothing_wrong(cache: Path, calls: str, least: int) -> None:
    place = sharded(cache).where.rpartition("/")[0]
    steps = int(run_script(KILL, place, calls))
    assert steps >= least
    seen = set()
    for step in range(steps):
        store = sharded(cache_folder(f"{place}-{step}"))
        before = store.rows()
        seen.add(len(before))
        assert list(before) == [sha(n) for n in (5, 1, 9, 4)[: len(before)]]
        assert not before or np.array_equal(store.read(list(before)), rows(*(int(s, 16) for s in before)))
        with store.writing() as writer:  # what was committed on this machine is put now
            lacking = store.lacking([sha(n) for n in (5, 1, 9, 4)])
            if lacking:
                writer.append(lacking, rows(*(int(s, 16) for s in lacking)))
        assert set(store.rows()) == {sha(n) for n in (5, 1, 9, 4)}
        assert np.array_equal(store.read([sha(n) for n in (4, 9, 1, 5)]), rows(4, 9, 1, 5))
        assert sum(record.rows for record in store.committed()) == 4  # and nothing twice
        if step % 4 == 0:
            assert verify(store.path).ok
    assert seen == {0, 3, 4}  # a part is seen whole or not at all


def test_a_full_disk_keeps_what_is_committed_and_the_next_writer_puts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sharded(tmp_path)
    monkeypatch.setattr("shutil.copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(FeatcacheError, match="no room") as refused:
        fill(store, 1, 2, 3, 4)
    assert "is kept" in str(refused.value) and not store.exists()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with sharded(tmp_path).writing():
        pass
    assert np.array_equal(store.read([sha(1), sha(3)]), rows(1, 3))


def test_copies_are_fetched_once_checked_and_kept_below_their_limit(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_folder(f"{s3}/copies")
    fill(sharded(cache), 1, 2, 3, 4, 5, 6)
    store = store_in(cache, info())
    assert isinstance(store, ShardedStore)
    first, second = store.committed()
    fetched: list[str] = []
    fetch = store.place.fetch
    monkeypatch.setattr(store.place, "fetch", lambda name, to: (fetched.append(name), fetch(name, to)))
    for _ in range(2):
        assert np.array_equal(store.read([sha(2), sha(5)]), rows(2, 5))
    assert sorted(fetched) == sorted(one.file for r in (first, second) for one in (r.part, r.hashes))
    copy = store.copies.folder / first.part.file
    data = bytearray(copy.read_bytes())
    data[data.index(rows(2).astype(np.float16).tobytes()) + 3] ^= 4
    copy.write_bytes(bytes(data))
    assert np.array_equal(store.read([sha(2)]), rows(2))  # the copy alone was damaged
    small = store_in(cache, info(), most_gb=first.part.size * 1.5e-9)
    assert isinstance(small, ShardedStore)
    for n in (1, 6, 1):
        copy.unlink(missing_ok=True)
        assert np.array_equal(small.read([sha(n)]), rows(n))
        assert sum(file.stat().st_size for file in small.copies.folder.iterdir()) <= first.part.size * 1.5


def test_a_network_that_is_gone_is_waited_for_and_then_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sharded(cache_folder(f"{s3}/network"))
    fill(store, 1)
    monkeypatch.setattr(object_storage, "WAITS", (0.0, 0.0))
    system, failures = store.place._system, [ConnectionError("cut"), TimeoutError("slow")]  # type: ignore[attr-defined]
    ls = system.ls
    monkeypatch.setattr(system, "ls", lambda *a, **k: ls(*a, **k) if not failures else _raise(failures.pop()))
    assert list(store.rows()) == [sha(1)] and not failures
    failures += [ConnectionError("cut")] * 3
    with pytest.raises(StoreError, match=r"s3://bucket/network/.*ConnectionError: cut.*AWS_ENDPOINT_URL"):
        store.rows()
    failures.clear()
    monkeypatch.setattr(system, "get_file", lambda *_: _raise(ConnectionError("cut")))
    with pytest.raises(StoreError, match="ConnectionError: cut"):  # a part that cannot be asked for is not damaged
        verify(store.path)


def _raise(error: Exception) -> None:
    raise error


def test_a_bucket_that_is_not_there_is_named_before_any_work(s3: str) -> None:
    store = sharded(cache_folder("s3://no-such-bucket/cache"))
    begun = False
    with pytest.raises(StoreError, match="no-such-bucket"), store.writing():
        begun = True
    assert not begun


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"needs the package s3fs.*featcache\[cluster\]"):
        sharded(cache_folder("s3://bucket/cache")).rows()


def test_a_server_without_conditional_puts_is_looked_at_first(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = sharded(cache_folder(f"{s3}/old")).place
    system = place._system  # type: ignore[attr-defined]
    pipe = system.pipe_file

    def old(path: str, data: bytes, mode: str = "overwrite") -> None:
        if mode == "create":
            raise OSError(38, "NotImplemented")
        pipe(path, data)

    monkeypatch.setattr(system, "pipe_file", old)
    assert place.create("manifest/a.json", b"1") and not place.create("manifest/a.json", b"2")
    assert place.read(["manifest/a.json", "manifest/b.json"]) == {"manifest/a.json": b"1"}


def test_a_store_that_is_there_stays_what_it_is(tmp_path: Path) -> None:
    fill(FeatureStore(tmp_path, info()), 1)
    assert type(store_in(tmp_path, info(), 3)) is FeatureStore
    fill(sharded(tmp_path / "other"), 1)
    assert type(store_in(tmp_path / "other", info())) is ShardedStore
    left = FeatureStore(tmp_path / "waiting", info())  # rows that a single file's writer left are a part's too
    Parts(left.parts.folder).write("", [sha(1)], rows(1).astype(np.float16))
    with sharded(tmp_path / "waiting").writing():
        pass
    assert list(sharded(tmp_path / "waiting").rows()) == [sha(1)]


def test_the_index_finds_what_a_dictionary_finds() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.integers(0, 256, (n, 32), np.uint8) for n in (5, 0, 7)]
    parts[2][3] = parts[0][1]
    parts[2][4, -3:] = 0  # a name that ends in zeros
    names = [one.tobytes().hex() for part in parts for one in part]
    index = RowIndex(parts)
    assert index.find(names).tolist() == [names.index(name) for name in names]
    assert index.find([sha(1)]).tolist() == [-1] and len(index) == 11
    assert list(index.in_order()) == list(dict.fromkeys(names))
    assert index.part_of(np.arange(12)).tolist() == [0] * 5 + [2] * 7
    assert RowIndex([]).find([sha(1)]).tolist() == [-1]
