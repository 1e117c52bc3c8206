"""Suspect labels, outliers and balance: what the figures say of labels, odd images and uneven classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featcache.audit import Audit, audit, clean_list, emptied, write_audit, write_clean_list
from featcache.audit.audit_json import load_audit
from featcache.audit.label_findings import suspect_pictures
from featcache.audit.suspect_labels import confident_learning, probabilities, reduced
from featcache.errors import RunError
from featcache.places import FilePlace
from featcache.records import BadImage, ImageRecord, Manifest, Split


def digits(count: int = 600, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Real digits as features: pixels [N, 64] and labels [N]."""
    found = load_digits(n_class=classes)
    return found.data[:count].astype(np.float32), found.target[:count].astype(np.int64)


def manifest(labels: np.ndarray, splits: tuple[Split, ...] = ("train", "train", "train", "val", "test")) -> Manifest:
    images = tuple(
        ImageRecord(FilePlace.at(f"{i}"), f"{i:04d}.png", f"{i:064x}", int(label), splits[i % len(splits)])
        for i, label in enumerate(labels)
    )
    names = tuple(f"digit {k}" for k in range(int(labels.max()) + 1))
    return Manifest("digits", Path("/digits"), names, images)


def test_flipped_labels_come_first() -> None:
    x, labels = digits()
    rng = np.random.default_rng(0)
    flipped = rng.choice(len(labels), 20, replace=False)
    given = labels.copy()
    given[flipped] = (labels[flipped] + rng.integers(1, 10, 20)) % 10
    found = audit(manifest(given), {"pixels": x})
    assert len(found.suspects) >= 40
    names = [s.name for s in found.suspects]
    assert len({f"{i:04d}.png" for i in flipped} & set(names[:40])) >= 18
    flags = [s.flagged for s in found.suspects]
    assert flags == sorted(flags, reverse=True)  # flagged ones first
    for s in found.suspects:
        if int(s.name[:4]) in flipped and s.flagged:
            assert s.suggested != s.label
            assert s.p_suggested > s.p_label
    right = [s.suggested == f"digit {labels[int(s.name[:4])]}" for s in found.suspects if int(s.name[:4]) in flipped]
    assert np.mean(right) > 0.8


def test_the_confident_joint_of_a_case_worked_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
    labels = np.array([0, 0, 0, 1, 1])
    # Thresholds: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.6 + 0.9) / 2 = 0.75.
    verdict = confident_learning(p, labels)
    assert verdict.flagged.tolist() == [False, False, True, False, False]  # the fourth reaches neither threshold
    assert verdict.suggested.tolist() == [1, 1, 1, 0, 0]
    assert verdict.order.tolist() == [2, 3, 1, 0, 4]  # then by margin: 0.2, 0.4, 0.8 and 0.8


def test_a_class_of_one_image_is_not_what_others_look_like() -> None:
    x, labels = digits(200, 4)
    alone = labels.copy()
    alone[np.flatnonzero(labels == 3)[0]] = 4  # nobody has seen this class when its image is judged
    p = probabilities([x], alone, np.arange(200))
    assert p is not None
    verdict = confident_learning(p, alone)
    assert not (verdict.suggested[verdict.flagged] == 4).any()
    assert verdict.flagged.sum() < 10  # it was most of them


def test_a_copy_does_not_vouch_for_its_own_wrong_label() -> None:
    x, labels = digits(200, 4)
    x, given = np.concatenate([x, x[:10]]), np.concatenate([labels, labels[:10]])
    wrong = np.r_[0:10, 200:210]
    given[wrong] = (given[wrong] + 1) % 4
    groups = np.r_[0:200, 0:10]
    together = probabilities([x], given, groups)
    apart = probabilities([x], given, np.arange(210))
    assert together is not None
    assert apart is not None
    assert together[wrong, given[wrong]].mean() < apart[wrong, given[wrong]].mean()


def test_probabilities_are_sane_with_more_features_than_images() -> None:
    x, labels = digits(120)
    rng = np.random.default_rng(0)
    wide = (x @ rng.normal(size=(64, 2000))).astype(np.float32)
    p = probabilities([wide], labels, np.arange(120))
    assert p is not None
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == labels).mean() > 0.8
    assert 0.3 < p.max(axis=1).mean() < 0.99  # neither shrugs nor certainties


@pytest.mark.parametrize("shape", [(50, 20), (20, 50)])
def test_reduction_keeps_distances_whatever_the_scale(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    x[:, 0] = 3.0  # constant: says nothing
    scales = np.random.default_rng(1).uniform(0.1, 100, shape[1])
    plain, scaled = reduced(x.astype(np.float32)), reduced((x * scales).astype(np.float32))
    np.testing.assert_allclose(plain @ plain.T, scaled @ scaled.T, atol=1e-3)


def test_odd_images_are_the_outliers() -> None:
    x, labels = digits(400)
    odd = [5, 77]
    x[odd] = np.random.default_rng(0).permutation(x[odd].ravel()).reshape(2, 64)[:, ::-1] * 3
    found = audit(manifest(labels), {"pixels": x})
    assert {o.name for o in found.outliers[:2]} == {"0005.png", "0077.png"}
    assert [o.flagged for o in found.outliers[:2]] == [True, True]
    assert sum(o.flagged for o in found.outliers) < 12  # of 400
    scores = [o.score for o in found.outliers]
    assert len(scores) == 40
    assert scores == sorted(scores, reverse=True)


def test_balance_is_counted_and_remarked_on() -> None:
    labels = np.r_[np.zeros(200), np.ones(40)].astype(np.int64)
    splits: list[Split] = ["train"] * 160 + ["val"] * 10 + ["test"] * 30 + ["train"] * 10 + ["val"] * 20 + ["test"] * 10
    images = tuple(
        ImageRecord(FilePlace.at(f"{i}"), f"{i}", f"{i}", int(k), s)
        for i, (k, s) in enumerate(zip(labels, splits, strict=True))
    )
    found = audit(Manifest("made", Path("/made"), ("many", "few"), images), {})
    assert [c.as_dict() for c in found.balance] == [
        {"class": "many", "train": 160, "val": 10, "test": 30},
        {"class": "few", "train": 10, "val": 20, "test": 10},
    ]
    said = " ".join(found.warnings)
    assert "160 images of 'many', 10 of 'few'" in said
    assert "'few' is 5.9% of train (10 of 170) but 66.7% of val (20 of 30)." in said


def test_an_even_data_set_without_faults_gets_no_word() -> None:
    x, labels = digits(500)
    seen = {
        "pixels": x,
        "turned": np.ascontiguousarray(x @ np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]),
    }
    found = audit(manifest(labels, ("train", "val", "test")), {k: v.astype(np.float32) for k, v in seen.items()})
    assert not found.exact
    assert not found.near
    assert not [w for w in found.warnings if "copy" in w or "far from even" in w or "of train" in w]


def test_without_features_it_says_what_was_not_looked_at() -> None:
    found = audit(manifest(digits(50)[1]), {}, [BadImage("x.png", "00", "no image")])
    assert found.suspects == found.outliers == found.near == ()
    assert found.quarantined[0].name == "x.png"
    assert any("No backbone" in w and "not looked for" in w for w in found.warnings)


def made(tmp_path: Path) -> Audit:
    x, labels = digits(120)
    labels[3] = (labels[3] + 1) % 10
    data = manifest(labels)
    images = (
        *data.images,
        ImageRecord(FilePlace.at("c"), 'train/odd, "name"\n.png', data.images[4].sha256, 0, "train"),
    )
    whole = Manifest(data.name, data.root, data.classes, images)
    return audit(whole, {"pixels": np.concatenate([x, x[[4]]])}, [BadImage("#bad.png", "ff", "no, image")])


def test_an_audit_comes_back_from_its_file(tmp_path: Path) -> None:
    found = made(tmp_path)
    write_audit(found, tmp_path / "audit" / "one.json")
    assert load_audit(tmp_path / "audit" / "one.json") == found
    keys = {
        *("format_version", "created", "featcache", "data", "backbones", "exact", "near", "leaked", "suspects"),
        *("outliers", "balance", "quarantined", "warnings"),
    }
    assert set(found.as_dict()) == keys


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"format_version": 99}'])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "audit.json").write_text(damage)
    with pytest.raises(RunError, match="is no audit that can be read"):
        load_audit(tmp_path / "audit.json")
    with pytest.raises(RunError, match="is no audit"):
        load_audit(tmp_path / "none.json")


def test_a_value_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    write_audit(made(tmp_path), file)
    text = file.read_text()
    for old, new in (('"leaked": {', '"leaked": {"x": 1}, "other": {'), ('"flagged"', '"flaged"')):
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(RunError):
            load_audit(file)


def test_the_clean_list_has_suspects_only_when_asked(tmp_path: Path) -> None:
    found = made(tmp_path)
    flagged = {s.name for s in found.suspects if s.flagged}
    assert flagged
    plain = {e.name: e.reason for e in clean_list(found)}
    assert plain["#bad.png"] == "cannot be read: no, image"
    more = {e.name for e in clean_list(found, with_suspects=True)}
    assert more == set(plain) | flagged
    assert not flagged <= set(plain)


def test_a_list_that_would_empty_a_class_says_so(tmp_path: Path) -> None:
    images = [
        ImageRecord(FilePlace.at(n), n, sha, label, split)
        for n, split, label, sha in (
            ("train/a", "train", 0, "x"), ("train/b", "train", 1, "z"),
            ("val/a", "val", 0, "x"), ("val/b", "val", 1, "w"), ("test/a", "test", 0, "u"), ("test/b", "test", 1, "v"),
        )
    ]  # fmt: skip
    found = audit(Manifest("made", Path("/made"), ("a", "b"), tuple(images)), {})
    (gone,) = clean_list(found)
    assert gone.name == "train/a"
    (said,) = emptied(found, [gone])
    assert "no image of 'a' in train" in said
    write_clean_list([gone], tmp_path / "clean.csv")
    assert (tmp_path / "clean.csv").read_text() == 'path,reason,sha256\n"train/a","the same file as val/a","x"\n'


@pytest.mark.parametrize(("count", "judged"), [(4, False), (5, True)])
def test_labels_of_a_class_too_small_to_be_learnt_are_not_flagged(count: int, judged: bool) -> None:
    """Scattered images under a name of their own: all others speak against them, and only of five is that said."""
    x, labels = digits(300, 4)
    few = np.concatenate([np.flatnonzero(labels == k)[:2] for k in range(4)])[:: 8 // count][:count]
    given = labels.copy()
    given[few] = 4
    found = audit(manifest(given), {"pixels": x})
    listed = {s.name: s.flagged for s in found.suspects}
    own = [listed[f"{i:04d}.png"] for i in few]
    assert any(own) if judged else not any(own)
    flags = [s.flagged for s in found.suspects]
    assert flags == sorted(flags, reverse=True)
    (pictures,) = suspect_pictures(found)
    assert (f"the labels of 'digit 4' ({count} images) are not judged" in pictures.note) != judged
