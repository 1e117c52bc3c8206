"""Pictures beside answers are those of the answers, whatever another source of the same images calls its files."""

from __future__ import annotations

from pathlib import Path

from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest, Split
from heads.redundancy.common_errors import CommonError
from heads.report.names_here import names_here
from heads.report.page_images import Images


def _image(name: str, sha256: str, split: Split) -> ImageRecord:
    return ImageRecord(FilePlace.at(Path(name)), name, sha256, 0, split)


HERE = (_image("val/a", "A", "val"), _image("val/b", "B", "val"), _image("val/c", "C", "val"), _image("c", "C", "test"))


def test_an_image_is_known_by_its_content_also_where_another_has_its_name() -> None:
    assert names_here(["val/b", "val/a", "x/0", "c"], ["A", "B", "C", "C"], HERE) == ("val/a", "val/b", "val/c", "c")
    assert names_here(["gone"], ["D"], HERE) == ("gone",)


def test_an_audit_of_renamed_files_numbers_the_pictures_that_it_means(tmp_path: Path) -> None:
    images = Images(Manifest("x", tmp_path, ("k",), HERE), {"val/b": "A", "val/a": "B"})
    assert images.audited("val/b") == images.number("val/a") != images.audited("val/a") == images.number("val/b")


def test_a_suspect_is_known_by_its_content() -> None:
    suspects = {"val/a", "A"}
    assert CommonError("val/b", 0, 1, 3, "A").is_in(suspects) and CommonError("val/a", 0, 1, 3).is_in(suspects)
    assert not CommonError("val/a", 0, 1, 3, "B").is_in(suspects)
