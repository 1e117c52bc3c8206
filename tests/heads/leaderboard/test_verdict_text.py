"""The answer in words: who is first, by how much, tied with whom; never a tie that the figures do not bear out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import save_run

from heads.leaderboard.board import Leaderboard
from heads.leaderboard.ranked_results import RankedResults, Ranking, rank_results
from heads.leaderboard.ranking import leaderboard
from heads.leaderboard.verdict_text import agreements, verdict
from heads.runs.predictions import Predictions, save_predictions
from heads.runs.run import finished_runs
from heads.runs.split_figures import split_figures
from heads.training.metrics import outcome


def board(results: Path) -> Leaderboard:
    return leaderboard(finished_runs(results), data="d")


CHANCE = (
    "On validation",
    "The epochs",
    "At 95%",
    "To tell",
    "No number",
    "Tuned and",
    "Every run has one seed",
)  # of chance_text, which has its own tests


def lines(results: Path) -> list[str]:
    return [line for line in verdict(rank_results(results, Ranking(data="d"))) if not line.startswith(CHANCE)]


def tied_with(line: str) -> set[str]:
    """Whom a sentence names as tied."""
    found = re.search(r"tied with (?P<names>[^;:.]+)", line)
    return set(re.split(", | and ", found["names"])) if found else set()


def ahead_of(line: str) -> tuple[str, float] | None:
    """The first that a sentence says somebody is ahead of, and by how much."""
    found = re.search(r"ahead of (?P<name>.+) by (?P<mean>-?[\d.]+) \[", line)
    return (found["name"], float(found["mean"])) if found else None


def test_without_phase_1_nothing_is_said(tmp_path: Path) -> None:
    assert verdict(RankedResults(tmp_path, {}, leaderboard([]))) == []
    save_run(tmp_path, "tuned", range(90), phase=2)
    assert lines(tmp_path) == []


def test_one_feature_map_is_not_compared(tmp_path: Path) -> None:
    save_run(tmp_path, "run", range(88), probe=range(90), backbone="resnet18", latency_ms=2.34)
    heads, probe, latency = lines(tmp_path)
    assert re.fullmatch(
        r"resnet18 is the only feature map here: its heads get 0\.880 \[0\.8\d\d, 0\.9\d\d\] of 100 test images "
        r"right \(top-3 1\.000\)\.",
        heads,
    )
    assert "linear probe" in probe
    assert "0.900" in probe
    assert not re.search("first|tied|ahead", probe)
    assert latency == "resnet18 takes 2.3 ms a pass on a test's device (batch 1, float32)."


def test_runs_of_one_feature_map_are_one(tmp_path: Path) -> None:
    for name, right in (("run1", 80), ("run2", 90)):
        save_run(tmp_path, name, range(right), probe=range(70), backbone="resnet18")
    assert lines(tmp_path)[0].startswith("resnet18 is the only feature map here: its heads get 0.900")


def test_a_clear_winner(tmp_path: Path) -> None:
    save_run(tmp_path, "best", range(95), probe=range(95))
    save_run(tmp_path, "next", range(70), probe=range(60))
    save_run(tmp_path, "last", range(50), probe=range(30))
    heads, probe, latency, *_ = lines(tmp_path)
    assert heads.startswith("best gives the most separable feature map of 3: its heads get 0.950 [")
    assert "(top-3 1.000)" in heads
    assert ahead_of(heads) == ("next", 0.25)
    assert heads.endswith("in top-1.")
    assert probe.startswith("Without any head, a linear probe of the training images also puts best first (0.950")
    assert ahead_of(probe) == ("next", 0.35)
    assert tied_with(heads) == tied_with(probe) == set()
    assert "last" not in " ".join([heads, probe, latency])
    assert latency.startswith("best takes 2.0 ms")
    assert "fastest" not in latency


def test_top_3_decides_before_top_1(tmp_path: Path) -> None:
    save_run(tmp_path, "broad", range(60))
    save_run(tmp_path, "sharp", range(90), top3=range(91))
    heads = lines(tmp_path)[0]
    assert heads.startswith("broad gives the most separable")
    assert "; ahead of sharp by 0.090 [" in heads
    assert re.search(r"in top-3, though behind it by 0\.300 \[0\.\d+, 0\.\d+\] in top-1\.$", heads)


def test_all_tied(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        save_run(tmp_path, name, range(number, 88 + number), probe=range(number, 90 + number))
    heads, probe, *_ = lines(tmp_path)
    assert tied_with(heads) == tied_with(probe) == {"b", "c"}
    assert "100 validation images cannot tell any of them from it" in heads
    assert ahead_of(heads) is ahead_of(probe) is None


def test_two_that_are_tied(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        save_run(tmp_path, name, range(number, 88 + number))
    assert tied_with(lines(tmp_path)[0]) == {"b"}
    assert "ahead" not in lines(tmp_path)[0]


def test_some_tied_and_the_fastest_of_these_is_named(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), latency_ms=9)
    save_run(tmp_path, "b", range(1, 90), latency_ms=4)
    save_run(tmp_path, "c", range(2, 90), latency_ms=3)
    save_run(tmp_path, "d", range(60), latency_ms=1)  # faster, but not as good
    heads, latency, *_ = lines(tmp_path)
    assert tied_with(heads) == {"b", "c"}
    assert ahead_of(heads) == ("d", 0.3)
    assert "cannot tell" not in heads
    assert latency.startswith("a takes 9.0 ms a pass on a test's device (batch 1, float32); ")
    assert latency.endswith("the fastest that is tied with it, c, takes 3.0 ms.")


def test_a_probe_that_disagrees_says_so(tmp_path: Path) -> None:
    save_run(tmp_path, "heads", range(95), probe=range(60))
    save_run(tmp_path, "probed", range(70), probe=range(90))
    save_run(tmp_path, "also", range(60), probe=range(1, 90))
    probe = lines(tmp_path)[1]
    assert "images puts probed first (0.900" in probe
    assert tied_with(probe) == {"also"}
    assert ahead_of(probe) == ("heads", 0.3)


def test_without_a_probe_it_is_not_spoken_of(tmp_path: Path) -> None:
    for name in "ab":
        save_run(tmp_path, name, range(60))
    assert "linear probe" not in " ".join(lines(tmp_path))


def test_a_backbone_with_two_weights_is_named_with_them(tmp_path: Path) -> None:
    save_run(tmp_path, "one", range(90), backbone="r", weights="V1", probe=range(70))
    save_run(tmp_path, "two", range(60), backbone="r", weights="V2", probe=range(90))
    save_run(tmp_path, "three", range(40), backbone="s", weights="V2", probe=range(90))
    heads, probe, latency, *_ = lines(tmp_path)
    assert heads.startswith("r (V1) gives")
    assert ahead_of(heads) == ("r (V2)", 0.3)
    assert "puts r (V2) first" in probe
    assert tied_with(probe) == {"s"}
    assert ahead_of(probe) == ("r (V1)", 0.2)
    assert latency.startswith("r (V1) takes")


def test_of_few_feature_maps_no_measure_is_to_be_trusted(tmp_path: Path) -> None:
    for number in range(4):
        save_run(tmp_path, f"b{number}", range(90 - 9 * number), probe=range(80 - 9 * number), logme=-float(number))
    assert lines(tmp_path)[-1] == "Which measure to trust without heads cannot be said from 4 feature maps."
    assert agreements(board(tmp_path).feature_maps) == []


def test_the_measure_that_orders_most_like_the_heads_is_named(tmp_path: Path) -> None:
    for number in range(6):
        logme, h_score = -number / 10, (5, 4, 3, 2, 0, 1)[number]
        save_run(tmp_path, f"b{number}", range(95 - 9 * number), logme=logme, h_score=h_score, fisher_ratio=number)
    trust = lines(tmp_path)[-1]
    assert "LogME orders these 6 feature maps" in trust
    assert "Kendall's tau 1.00 [0." in trust
    assert "luck" not in trust
    found = agreements(board(tmp_path).feature_maps)
    assert [(one.measure, one.n) for one in found] == [("logme", 6), ("h_score", 6), ("fisher_ratio", 6)]
    assert [one.tau for one in found] == pytest.approx([1, 13 / 15, -1])


def test_an_agreement_that_may_be_luck_is_called_so(tmp_path: Path) -> None:
    for number in range(5):
        save_run(tmp_path, f"b{number}", range(90 - 9 * number), logme=(3, 4, 1, 2, 0)[number])
    assert "LogME orders these 5" in lines(tmp_path)[-1]
    assert "which may be luck among" in lines(tmp_path)[-1]


def test_a_lead_in_the_probe_is_that_over_the_one_that_is_named(tmp_path: Path) -> None:
    save_run(tmp_path, "small", range(95), probe=range(60), backbone="a", store="a-224.h5")
    save_run(tmp_path, "large", range(80), probe=range(95), backbone="a", store="a-384.h5")
    save_run(tmp_path, "b", range(70), probe=range(40))
    assert "puts a (large) first (0.950" in lines(tmp_path)[1]
    assert ahead_of(lines(tmp_path)[1]) == ("a (small)", 0.35)


@pytest.mark.parametrize("lost", ["best", "last"])
def test_what_cannot_be_compared_is_not_tied(tmp_path: Path, lost: str) -> None:
    save_run(tmp_path, "best", range(95), probe=range(95))
    save_run(tmp_path, "next", range(80), probe=range(80))
    save_run(tmp_path, "last", range(60), probe=range(60))
    (tmp_path / lost / "predictions.npz").unlink()
    (probe,) = (line for line in lines(tmp_path) if line.startswith("Without any head"))
    assert tied_with(probe) == set()


def test_nobody_is_ahead_by_less_than_nothing(tmp_path: Path) -> None:
    # in top-3 `first` is tied with both others, but `sharp` is behind `broad`, and therefore goes last
    save_run(tmp_path, "broad", range(80), top3=range(100))
    save_run(tmp_path, "first", range(81), top3=range(97))
    save_run(tmp_path, "sharp", range(92), top3=range(94))
    heads = lines(tmp_path)[0]
    lead = ahead_of(heads)
    assert lead is None or lead[1] > 0, heads


IMAGES = st.sets(st.integers(0, 99), min_size=30)


RUNS = st.lists(st.tuples(IMAGES, IMAGES, IMAGES), min_size=2, max_size=5)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(RUNS)
def test_ties_and_leads_are_those_of_the_figures(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[set[int], set[int], set[int]]]
) -> None:
    results = tmp_path_factory.mktemp("results")
    for number, (right, more, probe) in enumerate(runs):
        save_run(results, f"r{number}", right, top3=right | more, probe=probe)
    found = board(results)
    heads, probe_line = [line for line in lines(results) if "most frequent class" not in line][:2]
    for line, metrics in ((heads, ("top1", "top3")), (probe_line, ("linear_probe",))):
        tied = {name for name, behind in found.behind.items() if all(behind[m].tied for m in metrics)}
        first = found.rows[0].run if line is heads else max(found.rows, key=lambda r: r.more["linear_probe"] or 0).run
        assert tied_with(line) == tied - {first}
        lead = ahead_of(line)
        assert (lead is None) == (tied == set(found.behind))
        assert lead is None or lead[0] not in tied


@pytest.mark.slow
@settings(deadline=None, max_examples=100, derandomize=True)
@given(RUNS)
def test_ties_and_leads_are_those_of_many_figures(tmp_path_factory: pytest.TempPathFactory, runs: Any) -> None:
    test_ties_and_leads_are_those_of_the_figures.hypothesis.inner_test(tmp_path_factory, runs)


def test_an_accuracy_no_better_than_a_constant_answer_is_called_so(tmp_path: Path) -> None:
    save_run(tmp_path, "guess", range(52), probe=range(50))
    save_run(tmp_path, "worse", range(45), probe=range(40))
    answer = "always saying the most frequent class, which gets 0.500 top-1 there."
    line = f"Corrected for having been chosen, it is not told, on validation, from {answer}"
    assert line in lines(tmp_path)


def test_measures_that_agree_alike_are_both_named(tmp_path: Path) -> None:
    for number in range(6):
        save_run(tmp_path, f"b{number}", range(95 - 9 * number), logme=-number, h_score=-2.0 * number, fisher_ratio=1.0)
    assert "LogME and H-score order these 6 feature maps" in lines(tmp_path)[-1]


def test_a_probe_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    for name, right in (("a", 90), ("b", 70), ("c", 50)):
        save_run(tmp_path, name, range(right), probe=range(right))
    (tmp_path / "c" / "predictions.npz").write_bytes(b"damaged")
    (probe,) = (line for line in lines(tmp_path) if line.startswith("Without any head"))
    assert "; c cannot be compared image by image." in probe


def uneven(results: Path, name: str, right: Sequence[bool], labels: Sequence[int]) -> None:
    """A run on images whose classes are `labels`, which takes them for the next class where it is wrong."""
    folder = save_run(results, name, range(100))
    own = np.array(labels)
    logits = np.full((1, len(own), 4), -4, np.float32)
    logits[0, np.arange(len(own)), np.where(right, own, (own + 1) % 3)] = 4
    val = Predictions(logits, own, tuple(f"val/{i}.png" for i in range(len(own))))
    save_predictions(folder / "predictions.npz", {"val": val})
    found = split_figures(val, [outcome(torch.from_numpy(logits[0]), torch.from_numpy(own))])
    classes = [{"class": c, "recall": 1.0, "n": int((own == n).sum())} for n, c in enumerate("abcd")]
    summary = json.loads((folder / "summary.json").read_text())
    changed = {"val": found, "test": found, "per_class": {"val": classes, "test": classes}}
    (folder / "summary.json").write_text(json.dumps({**summary, **changed}))


def constant(results: Path, by: str | None) -> list[str]:
    said = verdict(rank_results(results, Ranking("d", rank_by=by)))
    return [
        line.removeprefix("Corrected for having been chosen, ")
        for line in said
        if ", from always saying" in line or ", than always saying" in line
    ]


def test_worse_than_a_constant_answer_is_not_called_alike_and_the_metric_is_named(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(30))
    assert constant(tmp_path, None) == [
        "it is worse, on validation, than always saying the most frequent class, which gets 0.500 top-1 there."
    ]
    labels = [0] * 70 + [1] * 15 + [2] * 15
    # right on half of the first class, and on all of the others: of these a constant answer has none right
    uneven(tmp_path / "classes", "a", [i % 2 == 0 or i >= 70 for i in range(100)], labels)
    assert "not told, on validation, from" in constant(tmp_path / "classes", None)[0]
    assert constant(tmp_path / "classes", "balanced_accuracy") == []
    uneven(tmp_path / "luck", "a", [i % 3 == 0 for i in range(100)], labels)
    (line,) = constant(tmp_path / "luck", "balanced_accuracy")
    assert line.endswith("always saying the most frequent class, which gets 0.333 balanced accuracy there.")


def test_of_one_class_auroc_is_not_quoted(tmp_path: Path) -> None:
    for name, right in (("a", 90), ("b", 85)):
        uneven(tmp_path, name, [i < right for i in range(100)], [0] * 100)
    lines = verdict(rank_results(tmp_path, Ranking("d", rank_by="auroc")))
    assert not any("AUROC 0" in line or "0.500 AUROC" in line for line in lines)
    assert any(line.endswith("validation images are of one class, of which AUROC says nothing.") for line in lines)
    assert "always saying the most frequent class, which gets 1.000 top-1 there." in constant(tmp_path, "auroc")[0]


@pytest.mark.parametrize("rarest", [20, 30])
def test_uneven_classes_are_told_of(tmp_path: Path, rarest: int) -> None:
    """80 to 20 is, 70 to 30 is not: where the most frequent class rules top-1, the mean over classes is said too."""
    run = save_run(tmp_path, "run", range(95), probe=range(90))
    file = run / "summary.json"
    summary = json.loads(file.read_text())
    summary["per_class"]["val"] = [
        {"class": "none", "recall": None, "n": 0},
        {"class": "many", "recall": 1.0, "n": 100 - rarest},
        {"class": "few", "recall": 0.75, "n": rarest},
    ]
    summary["test"]["balanced_accuracy"] = {**summary["test"]["top1"], "mean": 0.875, "ci95": [0.8, 0.95]}
    file.write_text(json.dumps(summary))
    line = (
        "Classes are uneven: always saying 'many' gets 0.800 on validation; as a mean over classes its heads get "
        "0.875 [0.800, 0.950] of test right (--rank-by balanced_accuracy ranks by that)."
    )
    assert (line in lines(tmp_path)) == (rarest == 20)
    assert any("uneven" in said for said in lines(tmp_path)) == (rarest == 20)
