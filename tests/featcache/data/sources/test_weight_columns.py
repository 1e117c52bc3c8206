"""A table's column of weights: found, named or left alone; numbers as they stand, or the lines that are none."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_makers import load, make_csv, make_parquet
from test_tables import NAMES, folder, notices, refusal

from featcache.data import Listing, Row, load_manifest, relative_weights, weights_digest
from featcache.data.manifest import scan
from featcache.data.sources import list_images
from featcache.errors import DataError, OptionsError
from featcache.options import DataOptions
from featcache.options.loading import parse_options

__all__ = ["folder"]

WEIGHTS = [0.5, 2.0, 0.0, 1e-3, 1.0, 7.0, 3.25, 1e6]


def weights(file: Path, **options: Any) -> list[float]:
    return [row.weight for row in list_images(str(file), DataOptions(path=str(file), **options)).rows]


def written(folder: Path, cells: list[Any], header: str = "weight", name: str = "t.csv", **how: Any) -> Path:
    rows = [[path, path[:3], cell] for path, cell in zip(NAMES, cells, strict=True)]
    return make_csv(folder / name, ["path", "label", header], rows, **how)


@pytest.mark.parametrize("header", ["weight", "Sample Weight", "image-weight", "WEIGHT"])
def test_usual_names_are_read_and_said(folder: Path, header: str) -> None:
    file = written(folder, WEIGHTS, header)
    assert weights(file) == WEIGHTS
    assert f"weight: {header!r}" in notices(file)


def test_a_column_is_named_or_left_alone(folder: Path) -> None:
    file = written(folder, ["61 kg"] * 8)
    assert weights(file, columns={"weight": False}) == [1.0] * 8
    assert "not read: 'weight'" in notices(file, columns={"weight": False})
    other = written(folder, WEIGHTS, "trust")
    assert weights(other) == [1.0] * 8
    assert weights(other, columns={"weight": "trust"}) == WEIGHTS
    assert "Did you mean 'trust'?" in refusal(other, columns={"weight": "trusts"})
    flags = written(folder, [0, 1] * 4)  # no class of its own
    assert weights(flags) == [0, 1] * 4


def test_weights_of_parquet_and_json(folder: Path) -> None:
    table = pyarrow.table({"path": NAMES, "label": [n[:3] for n in NAMES], "sample_weight": WEIGHTS})
    assert weights(make_parquet(folder / "t.parquet", table)) == WEIGHTS
    lines = "".join(
        f'{{"path": "{n}", "label": "{n[:3]}", "weight": {w}}}\n' for n, w in zip(NAMES, WEIGHTS, strict=True)
    )
    (folder / "t.jsonl").write_text(lines)
    assert weights(folder / "t.jsonl") == WEIGHTS
    whole = table.set_column(2, "sample_weight", pyarrow.array([1, 2, 3, None, math.nan, 6, 7, 8], pyarrow.float64()))
    message = refusal(make_parquet(folder / "u.parquet", whole))
    assert "2 weights cannot be used: None in row 4 (cat/cat 3.png); nan in row 5 (dog/dog 0.png)." in message


def test_what_is_no_weight_is_named_with_its_line(folder: Path) -> None:
    cells = ["-1", "", "inf", "nan", "0,5", "heavy", 1, 2]
    message = refusal(written(folder, cells))
    assert "6 weights cannot be used: '-1' in line 2 (cat/cat 0.png); '' in line 3 (cat/cat 1.png); " in message
    assert "'inf' in line 4 (cat/cat 2.png); and 3 more. Expected a number of 0 or more" in message
    assert "point before decimals" in message and "data.columns.weight" in message


def test_a_picture_with_two_weights_is_refused_and_both_are_named(folder: Path) -> None:
    rows = [[name, name[:3], 1] for name in NAMES] + [[NAMES[2], "cat", 3]]
    message = refusal(make_csv(folder / "t.csv", ["path", "label", "weight"], rows))
    assert f"{NAMES[2]!r} has the weight 1.0 in line 4 and 3.0 in line 10" in message
    rows[-1][2] = "1.0"
    assert weights(make_csv(folder / "t.csv", ["path", "label", "weight"], rows)) == [1.0] * 8


CELLS = st.one_of(
    st.floats(min_value=0, allow_infinity=False).map(repr),
    st.floats().map(repr),
    st.integers(-3, 10**400).map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=6),
)


@settings(max_examples=60, deadline=None)
@given(cells=st.lists(CELLS, min_size=8, max_size=8), separator=st.sampled_from(",;\t|"))
def test_whatever_a_cell_says_is_a_weight_or_is_named(cells: list[str], separator: str) -> None:
    def number(cell: str) -> float:
        try:
            return float(cell)
        except ValueError:
            return math.nan

    wrong = [n for n, cell in enumerate(cells) if not 0 <= number(cell) < math.inf]
    with tempfile.TemporaryDirectory() as place:
        for name in NAMES:
            (Path(place) / name).parent.mkdir(exist_ok=True)
            (Path(place) / name).touch()
        file = written(Path(place), cells, delimiter=separator)
        if not wrong:
            assert weights(file) == [float(cell) for cell in cells]
            return
        message = refusal(file)
    assert all(f"in line {n + 2} ({NAMES[n]})" in message for n in wrong[:3])
    assert (f"and {len(wrong) - 3} more" in message) == (len(wrong) > 3)


# --- what becomes of them


def test_they_are_in_the_manifest_and_in_no_fingerprint(folder: Path) -> None:
    plain = load(written(folder, [1] * 8), folder / "cache")
    weighted = load(written(folder, WEIGHTS), folder / "cache")
    known = dict(zip(NAMES, WEIGHTS, strict=True))
    assert {i.name: i.weight for i in weighted.images} == known
    assert weighted.fingerprint == plain.fingerprint
    assert weights_digest(plain.images) is None
    assert weights_digest(weighted.images) != weights_digest(weighted.images[1:]) is not None
    said = next(n for n in weighted.notices if n.startswith("weights: "))
    train = [known[i.name] for i in weighted.of("train")]
    assert f"weights: {min(train):g} to {max(train):g} on {len(train)} training images" in said
    assert ("of them 0 and left out" in said) == (0 in train)
    assert not any(n.startswith("weights") for n in plain.notices)
    assert relative_weights(weighted.images) == pytest.approx([i.weight / 1e6 for i in weighted.images])


def test_nothing_is_left_to_learn_from(folder: Path) -> None:
    split = [["train", "train", "val", "test"] * 2]
    header = ["path", "label", "split", "weight"]

    def table(*cells: float) -> Path:
        rows = [[n, n[:3], s, w] for n, s, w in zip(NAMES, split[0], cells, strict=True)]
        return make_csv(folder / "t.csv", header, rows)

    with pytest.raises(DataError, match=r"every training image of 'dog' has the weight 0.*data\.classes"):
        load(table(1, 0, 1, 1, 0, 0, 5, 5), folder / "cache")
    with pytest.raises(DataError, match="every training image has the weight 0"):
        load(table(0, 0, 1, 1, 0, 0, 5, 5), folder / "cache")
    kept = load(table(1, 0, 0, 0, 3, 0, 0, 0), folder / "cache")  # of val and test no weight matters
    assert len(kept.images) == 8


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_what_a_package_gives_is_checked_too(folder: Path, weight: float) -> None:
    listing = list_images(str(folder), DataOptions(path=str(folder)))
    rows: list[Row] = [row._replace(weight=weight) if n == 3 else row for n, row in enumerate(listing.rows)]
    _, memo = load_manifest(DataOptions(path=str(folder)), folder / "cache")
    with pytest.raises(DataError, match=rf"{rows[3].name} has the weight {weight}"):
        scan(Listing("x", folder, rows), DataOptions(path=str(folder)), memo)


def test_runs_with_columns_of_their_own_keep_their_digest() -> None:
    def options(**columns: Any) -> dict[str, Any]:
        data = {"path": "t.csv", "columns": columns} if columns else {"path": "t.csv"}
        return {"experiment_name": "x", "model": {"backbone": "resnet18"}, "data": data}

    assert parse_options(options(label="kind")).short == BEFORE
    assert parse_options(options(label="kind", weight="w")).short != BEFORE
    assert parse_options(options(label="kind", weight=False)).short != BEFORE
    with pytest.raises(OptionsError, match=r"data\.columns\.weight"):
        parse_options(options(weight=True))


BEFORE = "bec3a1e9"  # by the version that knew no weights
