"""Tables as spreadsheets, scripts and labelling tools write them: read as meant, or refused with both lines."""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from source_makers import contents, load, make_csv

from featcache.data import load_manifest
from featcache.data.file_formats import READER
from featcache.data.sources import list_images
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import NoContentError

NAMES = [f"{label}/{label} {i}.png" for label in ("cat", "dog") for i in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight files in two folders."""
    for name in NAMES:
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path / "pictures"


def labelled(*more: list[str]) -> list[list[str]]:
    """A line for each file: path and label; and more."""
    return [*([name, name[:3]] for name in NAMES), *more]


def read(file: Path, **options: Any) -> dict[str, str]:
    """The label of each image that a table names."""
    return {row.name: row.label for row in list_images(str(file), DataOptions(path=str(file), **options)).rows}


def notices(file: Path, **options: Any) -> str:
    return "; ".join(list_images(str(file), DataOptions(path=str(file), **options)).notices)


def refusal(file: Path, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        load(file, file.parent.parent / "cache", **options)
    return str(refused.value)


PLAIN = {name: name[:3] for name in NAMES}

# --- text as it comes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_and_separators(folder: Path, encoding: str, separator: str) -> None:
    rows = [[name, 'Müll; Größe, "x"' if name[:3] == "cat" else "dog"] for name in NAMES]
    file = make_csv(folder / "t.csv", ["Image Path", "Class"], rows, encoding, delimiter=separator)
    assert read(file) == {name: 'Müll; Größe, "x"' if name[:3] == "cat" else "dog" for name in NAMES}
    assert ("Windows-1252" in notices(file)) == (encoding == "cp1252")


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1), min_size=2),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\r\n", "\n"]),
    stated=st.booleans(),
)
@example(labels=["0", "0.0"], separator=",", encoding="utf-8", quoting=csv.QUOTE_MINIMAL, end="\n", stated=False)
@example(labels=["0", "0.0", "x"], separator=";", encoding="utf-16", quoting=csv.QUOTE_ALL, end="\n", stated=True)
def test_whatever_a_table_says_is_what_is_read(
    labels: list[str], separator: str, encoding: str, quoting: int, end: str, stated: bool
) -> None:
    labels = [" ".join(label.split()) for label in labels]
    with tempfile.TemporaryDirectory() as place:
        names = [f"{n}.png" for n in range(len(labels))]
        (Path(place) / names[0]).write_bytes(b"x")
        file = Path(place) / "t.csv"
        with file.open("w", newline="", encoding=encoding) as stream:
            stream.write(f"sep={separator}{end}" if stated else "")
            table = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)
            table.writerow(["note", "label", "file"])
            table.writerows(
                [f"a{separator}b\n{n}", label, name] for n, (label, name) in enumerate(zip(labels, names, strict=True))
            )
        said = {name: label for name, label in zip(names, labels, strict=True) if label}
        if all(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", label) for label in said.values()):
            said = {name: re.sub(r"\.0+$", "", label) for name, label in said.items()}  # numbers of classes, not names
        assert read(file) == said


def test_what_stands_around_a_table_of_text(folder: Path) -> None:
    """Blank lines, blank cells behind, a header in two lines, an old Mac's line ends."""
    lines = ["", " ;", '"Image\nPath";Class ;', *(f"{name};{label};" for name, label in labelled()), "", ";;;", ";;"]
    for end in ("\n", "\r\n", "\r"):
        (folder / "t.csv").write_bytes(end.join(["sep=;", *lines, ""]).encode())
        assert read(folder / "t.csv") == PLAIN
        assert "left out" not in notices(folder / "t.csv")


@pytest.mark.parametrize("label", ["一一一一一一一一", "ĀȀ", "\u4e00 and more"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_letters_whose_last_byte_is_zero(folder: Path, label: str, order: str) -> None:
    """They look like the other order of bytes to who counts zeros."""
    rows = [[name, label if name[:3] == "cat" else "dog"] for name in NAMES]
    (folder / "t.csv").write_text("")
    file = make_csv(folder / "t.csv", ["path", "label"], rows, f"utf-16-{order}")
    assert set(read(file).values()) == {label, "dog"}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("line", [3, 3000])
def test_a_zero_in_a_cell_is_named_by_its_line(folder: Path, encoding: str, line: int) -> None:
    rows = [[f"{n}.png", "caf\u00e9", "a\0b" if n == line else "ab"] for n in range(2, line + 5)]
    file = make_csv(folder / "t.csv", ["path", "label", "note"], rows, encoding)
    message = refusal(file)
    assert f"line {line}: a NUL" in message and "UTF-16" not in message


def test_utf_16_of_few_latin_letters(folder: Path) -> None:
    """Few of its bytes are zeros."""
    rows = [[name, "猫", "一二三四五六七八九" * 20] for name in NAMES]
    file = make_csv(folder / "t.csv", ["path", "label", "note"], rows, "utf-16-le")
    assert read(file) == dict.fromkeys(NAMES, "猫")


def test_a_long_cell_in_a_column_that_is_not_read(folder: Path) -> None:
    rows = [[name, label, "x" * 200_000] for name, label in labelled()]
    assert read(make_csv(folder / "t.csv", ["path", "label", "notes"], rows)) == PLAIN


def test_latin_1_is_said(folder: Path) -> None:
    file = make_csv(folder / "t.csv", ["path", "label"], labelled(), "latin-1")
    file.write_bytes(file.read_bytes().replace(b",dog", b",d\xe9\x81g"))
    assert set(read(file).values()) == {"cat", "d\xe9\x81g"} and "read as Latin-1" in notices(file)


def test_json_lines_and_lists(folder: Path) -> None:
    records = [{"file_name": name, "label": name[:3], "score": 0.5} for name in NAMES]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n\n")
    (folder / "t.json").write_text(json.dumps(records))
    assert read(folder / "t.jsonl") == read(folder / "t.json") == PLAIN


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "", ["is empty", "Expected a header"]),
        ("t.csv", "path,label\ncat/cat 0.png,cat,what\n", ["line 2 has 3 cells, the header 2"]),
        (
            "t.csv",
            'path,label\ncat/cat 0.png,"cat\ndog/dog 0.png,dog\n',
            ["cannot be read as a table", "line 2: ", "quotes"],
        ),
        ("t.csv", "path,kind\ncat/cat 0.png,cat\n", ["no column that is known to hold class names", "'kind'", "label"]),
        ("t.csv", "where,label\nx,cat\n", ["paths of images", "data.columns.image"]),
        ("t.csv", "path,label\nno/x.png,a\n", ["none of its files is there", "'no/x.png'", "data.root"]),
        (
            "t.csv",
            "path,label,split\ncat/cat 0.png,cat,somewhere\n",
            ["csv: line 2 says", "'somewhere'", "no split"],
        ),
        ("t.csv", 'path,label\ncat/cat 0.png,cat\ndog/dog 0.png,"dog\n', ["line 3: ", "quotes"]),
        ("t.csv", 'path,"label\ncat/cat 0.png,cat\n', ["line 1: ", "quotes"]),
        ("t.csv", 'sep="\npath,label\n', ["no column", 'sep="']),
        ("t.jsonl", "{]", ["cannot be read as JSON records", "line 1, column 2"]),
        ("t.jsonl", '{"path": "cat/cat 0.png", "label": "cat"}\n\n{"path": 1,}\n', ["line 3, column "]),
        ("t.jsonl", '{"path": "cat/cat 0.png", "label": "\\ud83d"}', ["JSON records", "line 1: surrogates"]),
        ("t.jsonl", '{"path": "cat/cat 0.png", "label": "cat"}\n[]\n', ["line 2 is no JSON object"]),
        ("t.jsonl", '{"path": "cat/cat 0.png", "label": {"name": "cat"}}', ["line 1 has {'name': 'cat'} where a text"]),
        ("t.jsonl", '{"path": {"of": 1}, "label": "cat"}', ["line 1 has {'of': 1} where a text"]),
        ("t.jsonl", "", ["holds no records"]),
        (
            "t.json",
            '{"images": [{"id": 1}], "categories": []}',
            ["one JSON object, of 'images', 'categories'. Expected"],
        ),
        (
            "t.json",
            '[{"data": {"image": "cat/cat 0.png"}, "annotations": [{"result": [{"type": "choices"}]}]}]',
            ["`annotations` are not as Label Studio writes them"],
        ),
        ("t.json", '[{"data": {"image": "cat/cat 0.png"}, "annotations": ["cat"]}]', ["as Label Studio writes them"]),
        (
            "t.csv",
            'image,choice\ncat/cat 0.png,"{""choices"":[""cat"",""dog""]}"\ndog/dog 0.png,dog\n',
            ["'cat/cat 0.png' has the labels 'cat' and 'dog' in line 2"],
        ),
        ("t.json", '{"path": {"0": "a.png"}, "label": {"0": "cat"}}', ["one JSON object", "orient"]),
        ("t.json", '{"a.png": "cat", "b.png": "dog"}', ["one JSON object, of 'a.png', 'b.png'", '{"path": "a.jpg"']),
        ("t.parquet", "text", ["is plain text, whatever its name says, and no Parquet file."]),
        (
            "t.xlsx",
            "text",
            ["is plain text, whatever its name says", "a kind that is not read (.xlsx)", "call it .csv"],
        ),
        ("t.docx", "text", ["a kind that is not read (.docx)", "call it .csv"]),
        ("t.docx", "\0\1", ["a kind that is not read (.docx)", "a table (CSV"]),
    ],
)
def test_a_table_that_cannot_be_used(folder: Path, name: str, text: str, words: list[str]) -> None:
    (folder / name).write_text(text)
    message = refusal(folder / name)
    assert all(word in message for word in words), message
    assert str(folder / name) in message


# --- columns


def test_columns_that_are_named(folder: Path) -> None:
    rows = [[name, "wrong", name[:3], f"P{n % 4}"] for n, name in enumerate(NAMES)]
    file = make_csv(folder / "t.csv", ["where", "label", "kind", "who"], rows)
    columns = {"image": "where", "label": "kind", "group": "who"}
    assert read(file, columns=columns) == PLAIN
    assert "image: 'where', label: 'kind', group: 'who'; not read: 'label'" in notices(file, columns=columns)
    manifest = load(file, folder / "cache", columns=columns)
    assert {i.name: i.group for i in manifest.images} == {name: f"P{n % 4}" for n, name in enumerate(NAMES)}
    assert "groups (column 'who'): 8 images in 4 groups of 2" in "; ".join(manifest.notices)
    message = refusal(file, columns={"image": "where", "label": "kinds"})
    assert "no column 'kinds'" in message and "Did you mean 'kind'?" in message


def test_usual_names_that_mean_something_else(folder: Path) -> None:
    """A column `dataset` of where images are from, `group` of species: false says so; a given one is no other's."""
    rows = [[name, "mine", name[:3], "ape"] for name in NAMES]
    file = make_csv(folder / "t.csv", ["path", "dataset", "kind", "group"], rows)
    message = refusal(file, columns={"label": "kind"})
    assert "'mine', which is no split" in message and "data.columns.split: the column, or false" in message
    columns = {"label": "kind", "split": False, "group": False}
    assert read(file, columns=columns) == PLAIN
    found = list_images(str(file), DataOptions(path=str(file), columns=columns)).rows
    assert {(row.split, row.group) for row in found} == {(None, None)}
    assert set(read(file, columns={"label": "dataset"}).values()) == {"mine"}
    assert "not read: 'kind'" in notices(file, columns={"label": "dataset", "group": "group"})


def test_a_table_without_a_header(folder: Path) -> None:
    file = make_csv(folder / "t.csv", *[([*labelled()[0]]), labelled()[1:]])
    assert "is taken for a header: is it one?" in refusal(file)
    assert "is it one?" not in refusal(make_csv(folder / "t.csv", ["path", "kind"], labelled()))


def test_one_column_for_each_class(folder: Path) -> None:
    """As Roboflow and ISIC export them."""
    rows = [[name, int(name[:3] == "cat"), int(name[:3] == "dog")] for name in NAMES]
    file = make_csv(folder / "t.csv", ["filename", " cat", " dog"], rows)
    assert read(file) == PLAIN
    both = make_csv(folder / "u.csv", ["filename", " cat", " dog"], [[NAMES[0], 1, 1], [NAMES[1], 0, 0], *rows[2:]])
    assert "'cat/cat 0.png' has the labels 'cat' and 'dog' in line 2" in refusal(both)


def test_splits_of_a_table(folder: Path) -> None:
    words = ["Train", "train", "valid", "TEST"] * 2
    rows = [[name, name[:3], word] for name, word in zip(NAMES, words, strict=True)]
    manifest = load(make_csv(folder / "t.csv", ["path", "label", "split"], rows), folder / "cache")
    assert [len(manifest.of(split)) for split in ("train", "val", "test")] == [4, 2, 2]
    rows[5][2] = ""
    message = refusal(make_csv(folder / "t.csv", ["path", "label", "split"], rows))
    assert "1 of 8 images have no split, such as line 7 (dog/dog 1.png)" in message
    lone = [[name, name[:3], "" if n else "train"] for n, name in enumerate(NAMES)]
    message = refusal(make_csv(folder / "t.csv", ["path", "label", "split"], [*lone, *lone[1:]]))
    assert "7 of 8 images have no split, such as line 3 (cat/cat 1.png)" in message


# --- rows that say too little, or too much


def test_missing_cells_are_left_out_and_named(folder: Path) -> None:
    rows = labelled(["cat/cat 9.png", " "], ["", "dog"], ["", ""])
    file = make_csv(folder / "t.csv", ["path", "label"], rows)
    assert read(file) == PLAIN
    assert "1 row without a label left out, such as line 10 (cat/cat 9.png)" in notices(file)
    assert "1 row without an image left out, such as line 11" in notices(file)


def test_a_row_that_stands_twice_is_read_once_and_both_are_named(folder: Path) -> None:
    file = make_csv(folder / "t.csv", ["path", "label"], labelled([f"./{NAMES[2]}", "cat"]))
    assert read(file) == PLAIN
    assert "such as line 4 and line 10 (cat/cat 2.png)" in notices(file)


@pytest.mark.parametrize(("column", "other"), [("label", "dog"), ("split", "val"), ("group", "Q")])
def test_a_picture_with_two_labels_is_refused_and_both_are_named(folder: Path, column: str, other: str) -> None:
    line = {"path": NAMES[2], "label": "cat", "split": "train", "group": "P"}
    rows = [[name, name[:3], "train", "P"] for name in NAMES] + [[{**line, column: other}[key] for key in line]]
    message = refusal(make_csv(folder / "t.csv", list(line), rows))
    assert f"{NAMES[2]!r} has the {column} {line[column]!r} in line 4 and {other!r} in line 10" in message


def test_whole_numbers_are_one_class_with_or_without_a_point(folder: Path) -> None:
    rows = [[name, f"{n % 2}{'.0' * (n > 3)}"] for n, name in enumerate(NAMES)]
    file = make_csv(folder / "t.csv", ["path", "label"], [*rows, [NAMES[0], "0.0"]])
    assert read(file) == {name: str(n % 2) for n, name in enumerate(NAMES)}
    assert "labels are numbers: '0.0' is read as '0'" in notices(file)
    rows[1][1] = "1.5"
    assert set(read(make_csv(folder / "t.csv", ["path", "label"], rows)).values()) == {"0", "1", "1.5"}
    rows[1][1] = "v2"  # then all are names
    assert set(read(make_csv(folder / "t.csv", ["path", "label"], rows)).values()) == {"0", "1", "0.0", "1.0", "v2"}
    message = refusal(make_csv(folder / "t.csv", ["path", "label"], [*rows, [NAMES[0], "0.0"]]))
    assert f"{NAMES[0]!r} has the labels '0' in line 2 and '0.0' in line 10" in message


# --- files as they are named


@pytest.mark.parametrize("form", ["{}", "{folder}/{}", "x/{}"])
def test_images_that_no_row_names_are_counted(folder: Path, form: str) -> None:
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder.parent / "other.png").write_bytes(b"not below")
    named = [form.replace("{folder}", str(folder)).format(name) for name in NAMES]
    rows = [[n, name[:3]] for n, name in zip(named, NAMES, strict=True)]
    rows[0][1] = ""  # named, and left out for another reason
    file = make_csv(folder / "t.csv", ["path", "label"], rows)
    assert "no table names" not in notices(file)
    for name in ("cat/more.png", "bird.jpg"):
        (folder / name).write_bytes(b"more")
    assert f"2 images below {folder} that no table names left out" in notices(file)
    above = make_csv(folder.parent / "t.csv", ["path", "label"], [[f"pictures/{n}", n[:3]] for n in NAMES])
    assert f"2 images below {folder} that no table names left out" in notices(above)


def test_paths_as_windows_and_scripts_join_them(folder: Path) -> None:
    (folder / "cat" / "back\\slash.png").write_bytes(b"of that name")
    spelt = [
        name if n % 2 else f"./{name}".replace("/cat ", "//./cat ").replace("/dog ", "\\dog ")
        for n, name in enumerate(NAMES)
    ]
    assert spelt[0] == "./cat//./cat 0.png" and spelt[4] == "./dog\\dog 0.png"
    rows = [[s, name[:3]] for s, name in zip(spelt, NAMES, strict=True)]
    file = make_csv(folder / "t.csv", ["path", "label"], [*rows, ["cat/back\\slash.png", "cat"], *labelled()])
    assert read(file) == {**PLAIN, "cat/back\\slash.png": "cat"}
    assert "8 rows there twice and read once" in notices(file)


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png", "cat/cat 0.png/x.png"])
def test_names_that_no_file_can_have_go_to_the_quarantine_list(folder: Path, name: str) -> None:
    (folder / "t.jsonl").write_text("\n".join(json.dumps({"path": p, "label": k}) for p, k in labelled([name, "cat"])))
    manifest, memo = load_manifest(DataOptions(path=str(folder / "t.jsonl")), folder / "cache")
    bad = [i.name for i in manifest.images if memo.bad_reason(i.sha256, READER)]
    assert bad == [name] and len(manifest.images) == len(NAMES) + 1


def test_files_by_their_last_part_or_without_an_ending(folder: Path) -> None:
    by_last = make_csv(folder / "t.csv", ["image", "label"], [[n.split("/")[1], n[:3]] for n in NAMES])
    stems = make_csv(folder / "u.csv", ["image_id", "label"], [[n.split("/")[1][:-4], n[:3]] for n in NAMES])
    windows = make_csv(folder / "v.csv", ["path", "label"], [[f".\\{n}".replace("/", "\\"), n[:3]] for n in NAMES])
    absolute = make_csv(folder / "w.csv", ["path", "label"], [[str(folder / n), n[:3]] for n in NAMES])
    assert read(by_last) == read(stems) == read(windows) == read(absolute) == PLAIN
    assert "without its ending" in notices(stems)
    (folder / "dog" / "cat 1.png").write_bytes(b"another")
    assert "cat/cat 1.png and dog/cat 1.png" in refusal(by_last)


def test_whole_paths_of_another_machine_are_told_apart_by_their_folders(folder: Path) -> None:
    """As Windows writes them: the last part is there in two folders, and the folder before it says which is meant."""
    for label in ("cat", "dog"):
        (folder / label / "one.png").write_bytes((folder / label / f"{label} 0.png").read_bytes())
    rows = [["C:\\my photos\\cat\\one.png", "cat"], ["C:\\my photos\\dog\\one.png", "dog"]]
    more = [[f"C:\\x\\{label}\\{label} {n}.png", label] for label in ("cat", "dog") for n in range(1, 4)]
    found = read(make_csv(folder / "t.csv", ["path", "label"], rows + more))
    assert found["cat/one.png"] == "cat" and found["dog/one.png"] == "dog" and len(found) == 8
    rows[0][0] = "C:\\my photos\\birds\\one.png"
    assert "several files below" in refusal(make_csv(folder / "t.csv", ["path", "label"], rows + more))


def test_a_label_that_reads_like_none_is_said_and_a_class(folder: Path) -> None:
    rows = [[path, "NaN" if label == "dog" else label] for path, label in labelled()]
    file = make_csv(folder / "t.csv", ["path", "label"], rows)
    assert "4 rows with the label 'NaN', which may mean none" in notices(file)
    assert "may mean none" not in notices(make_csv(folder / "t.csv", ["path", "label"], labelled()))


@pytest.mark.parametrize(("header", "row"), [(";", ","), (",", ";"), (",", "\t")])
def test_a_header_parted_otherwise_than_its_rows(folder: Path, header: str, row: str) -> None:
    lines = [header.join(["path", "label"]), *(row.join(one) for one in labelled())]
    (folder / "t.csv").write_text("\n".join(lines))
    said = refusal(folder / "t.csv")
    assert f"{header!r} parts the cells of the header, and {row!r} those of line 2" in said


def test_a_file_that_is_not_there_goes_to_the_quarantine_list(folder: Path) -> None:
    file = make_csv(folder / "t.csv", ["path", "label"], labelled(["cat/gone.png", "cat"]))
    manifest, memo = load_manifest(DataOptions(path=str(file)), folder / "cache")
    bad = {i.name: memo.bad_reason(i.sha256, READER) for i in manifest.images if memo.bad_reason(i.sha256, READER)}
    assert bad == {"cat/gone.png": "the table names it, and there is no such file"}
    (folder / "cat" / "gone.png").write_bytes(b"back again")
    manifest, memo = load_manifest(DataOptions(path=str(file)), folder / "cache")
    assert not any(memo.bad_reason(i.sha256, READER) for i in manifest.images)


@pytest.mark.parametrize(("named", "words"), [(".", "it is a folder"), ("/", "it is a folder"), ("pipe.png", "a pipe")])
def test_a_row_that_names_no_plain_file_is_set_aside_alone(folder: Path, named: str, words: str) -> None:
    os.mkfifo(folder / "pipe.png")
    file = make_csv(folder / "t.csv", ["path", "label"], labelled([named, "cat"]))
    manifest, memo = load_manifest(DataOptions(path=str(file)), folder / "cache")
    reasons = [memo.bad_reason(i.sha256, READER) for i in manifest.images]
    assert len(reasons) == len(NAMES) + 1 and words in str([r for r in reasons if r])


def test_a_file_that_is_read_and_not_there_is_said_in_words(folder: Path) -> None:
    file = make_csv(folder / "t.csv", ["path", "label"], labelled(["cat/gone.png", "cat"]))
    with pytest.raises(NoContentError, match=r"^the table names it, and there is no such file$"):
        list_images(str(file), DataOptions(path=str(file))).rows[-1].place.read()


def test_a_folder_that_paths_are_below(folder: Path, tmp_path: Path) -> None:
    file = make_csv(tmp_path / "t.csv", ["path", "label"], labelled())
    assert read(file, root=str(folder)) == PLAIN
    assert "data.root" in refusal(file, root=str(tmp_path / "none"))


BLANK = [f"{label}/{label}%20{i}.png" for label in ("cat", "dog") for i in range(4)]


@pytest.mark.parametrize(
    "form",
    ["{}", "file://{folder}/{}", "https://host/{}?token=a/b#c", "s3://bucket/{}", "/data/local-files/?d=x/{}", "x/{}"],
)
def test_addresses_of_servers(folder: Path, form: str) -> None:
    """`%20` is a blank, unless a file is called so."""
    named = [form.replace("{folder}", str(folder)).format(name) for name in BLANK]
    file = make_csv(folder / "t.csv", ["path", "label"], [[n, name[:3]] for n, name in zip(named, NAMES, strict=True)])
    assert read(file) == PLAIN
    (folder / "cat" / "cat%200.png").write_bytes(b"of that name")
    literal = form in {"{}", "file://{folder}/{}", "x/{}"}  # an address is one for sure
    assert ("cat/cat%200.png" in read(file)) == literal


def test_blanks_of_uploads(folder: Path) -> None:
    rows = [[f"/data/upload/1/0a1b2c3d-{n.split('/')[1].replace(' ', '_')}", n[:3]] for n in NAMES]
    assert read(make_csv(folder / "t.csv", ["image", "choice"], rows)) == PLAIN
    (folder / "cat" / "cat_0.png").write_bytes(b"which of both?")
    assert "cat/cat 0.png and cat/cat_0.png" in refusal(folder / "t.csv")


@pytest.mark.parametrize("path", ["cat/{}", "elsewhere/{}"])
@pytest.mark.parametrize(("there", "named"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_that_look_alike_are_alike(folder: Path, path: str, there: Any, named: Any) -> None:
    (folder / "cat" / normalize(there, "\u00e9t\u00e9.png")).write_bytes(b"x")
    rows = [[path.format(normalize(named, "\u00e9t\u00e9.png")), "cat"]]
    assert [*read(make_csv(folder / "t.csv", ["path", "label"], rows))] == [f"cat/{normalize(there, 'été.png')}"]


def test_a_name_of_another_case_is_pointed_at(folder: Path) -> None:
    (folder / "cat" / "UP.PNG").write_bytes(b"x")
    assert "'cat/up.png': 'UP.PNG' is there" in refusal(
        make_csv(folder / "t.csv", ["path", "label"], [["cat/up.png", "cat"]])
    )
    file = make_csv(folder / "t.csv", ["path", "label"], labelled(["cat/up.png", "cat"]))
    with pytest.raises(NoContentError, match=r"there is no such file: 'UP\.PNG' is there"):
        list_images(str(file), DataOptions(path=str(file))).rows[-1].place.stamp()


# --- other tools


def test_label_studio(folder: Path) -> None:
    def task(name: str, *choices: str, cancelled: bool = False) -> dict[str, Any]:
        results = [{"type": "choices", "from_name": "c", "value": {"choices": [choice]}} for choice in choices]
        annotations = [{"result": [one], "was_cancelled": cancelled} for one in results]
        return {"id": 1, "data": {"image": f"/data/upload/3/a1b2c3d4-{name.split('/')[1]}"}, "annotations": annotations}

    full = [task(name, name[:3], name[:3]) for name in NAMES]
    (folder / "full.json").write_text(json.dumps([*full, task("x/x.png", "cat", cancelled=True)]))
    local = [{"image": f"/data/local-files/?d={name}", "choice": name[:3], "id": n} for n, name in enumerate(NAMES)]
    (folder / "min.json").write_text(json.dumps(local))
    make_csv(
        folder / "min.csv", ["annotator", "choice", "image"], [["1", one["choice"], one["image"]] for one in local]
    )
    assert read(folder / "full.json") == read(folder / "min.json") == read(folder / "min.csv") == PLAIN
    assert "1 row without a label" in notices(folder / "full.json")
    (folder / "full.json").write_text(json.dumps([*full[1:], task(NAMES[0], "cat", "dog")]))
    assert "has the labels 'cat' and 'dog' in record 8" in refusal(folder / "full.json")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "_classes.csv"])
def test_tables_beside_the_images_of_each_split(folder: Path, tmp_path: Path, name: str) -> None:
    """As `imagefolder` and Roboflow lay data sets out."""
    root = tmp_path / "set"
    for split, numbers in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):
        (root / split).mkdir(parents=True)
        rows = [(f"{label}_{n}.png", label) for label in ("cat", "dog") for n in numbers]
        for file, label in rows:
            (root / split / file).write_bytes((folder / label / f"{label} {file[4]}.png").read_bytes())
        if name == "metadata.jsonl":
            lines = [json.dumps({"file_name": file, "label": label}) for file, label in rows]
            (root / split / name).write_text("\n".join(lines))
        elif name == "metadata.csv":
            make_csv(root / split / name, ["file_name", "label"], rows)
        else:
            flags = [[file, int(label == "cat"), int(label == "dog")] for file, label in rows]
            make_csv(root / split / name, ["filename", " cat", " dog"], flags)
    manifest = load(root, tmp_path / "cache")
    found = [(name, label, split) for name, _, label, split in contents(manifest)]
    assert sorted(found) == [
        *((f"test/{label}_3.png", label, "test") for label in ("cat", "dog")),
        *((f"train/{label}_{n}.png", label, "train") for label in ("cat", "dog") for n in (0, 1)),
        *((f"valid/{label}_2.png", label, "val") for label in ("cat", "dog")),
    ]


def test_a_table_beside_one_folder_of_images_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "set" / "images" / "a.png").write_bytes(b"x")
    make_csv(tmp_path / "set" / "labels.csv", ["path", "label"], [["images/a.png", "cat"]])
    assert f"data.path={tmp_path / 'set' / 'labels.csv'}" in refusal(tmp_path / "set")
