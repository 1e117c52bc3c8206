"""data.exclude leaves out the files it names, whatever they are called, and says when it cannot be meant so."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.data import load_manifest
from featcache.data.exclude_list import HEADER, read_exclusion
from featcache.errors import DataError
from featcache.options.data_options import DataOptions
from featcache.records import Manifest

ODD = ["train/a/with, comma.png", 'train/a/with "quote".png', "train/a/with\nnewline.png", "train/b/#first.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            for i in range(3):
                put(tmp_path / "data" / split / name / f"{i}.png")
    for odd in ODD:
        put(tmp_path / "data" / odd)
    return tmp_path / "data"


def put(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(str(file).encode())


def load(root: Path, text: str | None, **options: object) -> Manifest:
    file = root.parent / "exclude.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8", newline="")
    data = DataOptions.model_validate({"path": str(root), "workers": 1, "exclude": str(file), **options})
    return load_manifest(data, root.parent / "cache")[0]


def names(manifest: Manifest) -> set[str]:
    return {i.name for i in manifest.images}


def refusal(root: Path, text: str | None) -> str:
    with pytest.raises(DataError) as refused:
        load(root, text)
    return str(refused.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "header", ["", "path\n", "path,reason,sha256\n", "\ufeffpath,reason\n", '# a comment, "open\n\n']
)
def test_listed_files_are_gone_and_nothing_else(root: Path, header: str, ending: str) -> None:
    everything = names(load(root, None, exclude=None))
    listed = ["train/a/0.png", "val/b/2.png"]
    left = load(root, header.replace("\n", ending) + "".join(f"{n},x{ending}" for n in listed))
    assert names(left) == everything - set(listed)
    assert any("2 of 22 files left out" in notice for notice in left.notices)


@pytest.mark.parametrize("header", ["path;reason", '\ufeff"path";"reason"'])
def test_semicolons_as_spreadsheets_save_them(root: Path, header: str) -> None:
    rest = names(load(root, None, exclude=None))
    assert names(load(root, f'{header}\r\n"train/a/0.png";"a; b"\r\ntest/b/1.png;\r\n')) == rest - {
        "train/a/0.png",
        "test/b/1.png",
    }


def test_odd_names_survive_a_csv(root: Path) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([n, "why, then\nso"] for n in ODD)
    assert names(load(root, text.getvalue())).isdisjoint(ODD)


def test_a_plain_list_may_hold_names_with_commas(root: Path) -> None:
    left = names(load(root, "train/a/with, comma.png\ntrain/a/0.png\n"))
    assert left.isdisjoint({"train/a/with, comma.png", "train/a/0.png"})
    assert len(left) == 20


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\r\t"), min_size=1)))
def test_any_names_come_back_from_a_quoted_csv(tmp_path_factory: pytest.TempPathFactory, wanted: list[str]) -> None:
    file = tmp_path_factory.mktemp("list") / "list.csv"
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([n, "reason"] for n in wanted)
    file.write_text("path,reason\n" + text.getvalue(), encoding="utf-8", newline="")
    assert read_exclusion(file, set(wanted))[1:] == [n for n in dict.fromkeys(wanted) if n != HEADER]


def test_the_fingerprint_is_that_of_a_folder_without_the_files(root: Path) -> None:
    less = load(root, "train/a/1.png\n").fingerprint
    assert less != load(root, None, exclude=None).fingerprint
    (root / "train/a/1.png").unlink()
    assert load(root, None, exclude=None).fingerprint == less


def test_missing_splits_are_cut_from_what_is_left(tmp_path: Path) -> None:
    for i in range(12):
        put(tmp_path / "bare" / "a" / f"{i}.png")
        put(tmp_path / "bare" / "b" / f"{i}.png")
    whole = load(tmp_path / "bare", None, exclude=None)
    only_val = [i.name for i in whole.of("val") if i.label == 0]
    left = load(tmp_path / "bare", "".join(f"{n}\n" for n in only_val))
    assert names(left).isdisjoint(only_val)
    assert [i for i in left.of("val") if i.label == 0]  # others took their place


def test_lines_that_name_nothing_are_said(root: Path) -> None:
    left = load(root, "train/a/0.png\ntrain/c/7.png\nnone.png\n")
    assert any("2 of 3 lines" in n and "train/c/7.png" in n for n in left.notices)


def test_a_list_with_a_header_alone_leaves_out_nothing(root: Path) -> None:
    assert names(load(root, "path,reason,sha256\n")) == names(load(root, None, exclude=None))


def test_what_cannot_be_meant_is_refused(root: Path) -> None:
    assert "cannot be read (No such file" in refusal(root, None)
    assert "none of its 1 line names an image" in refusal(root, "0.png\n")
    assert "none of its 0 lines" in refusal(root, "")
    (root.parent / "exclude.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(root, None)


def test_a_class_must_keep_an_image_in_train_and_a_split_some(root: Path) -> None:
    def listed(*folders: str) -> str:
        return "".join(f"{folder}/{i}.png\n" for folder in folders for i in range(3))

    assert "every image of val. Expected" in refusal(root, listed("val/a", "val/b"))
    them = sorted(n for n in names(load(root, None, exclude=None)) if n.startswith("train/b/"))
    assert "every image of 'b' in train" in refusal(root, "".join(f'"{n}"\n' for n in them))
    left = load(root, listed("val/b"))
    assert any("val has no images of 'b'" in notice and "over 1 of 2" in notice for notice in left.notices)


def test_a_list_of_other_contents_leaves_out_nothing(root: Path) -> None:
    """`featcache audit` notes contents: names alone would leave out another image where files were renamed."""
    whole = load(root, None, exclude=None)
    of = {i.name: i.sha256 for i in whole.images}
    here, swapped = (f"train/a/{n}.png,why,{of[f'train/a/{m}.png']}\n" for n, m in ((0, 0), (1, 2)))
    left = load(root, f"path,reason,sha256\n{here}{swapped}")
    assert {i.name for i in whole.images} - {i.name for i in left.images} == {"train/a/0.png"}
    assert any("'train/a/1.png', which has another content" in line for line in left.notices)
    with pytest.raises(DataError, match="1 line would leave out other images"):
        load(root, f"path,reason,sha256\n{swapped}")
