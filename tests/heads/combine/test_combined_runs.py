"""Runs that are combined, with truths that are planted: weights, figures, costs, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from answering_runs import answering_run, labels_of, sure
from numpy.typing import NDArray
from scipy.special import softmax

from featcache.errors import OptionsError, RunError
from heads import combine
from heads.combine import combination_record
from heads.leaderboard import Ranking, left_out_lines, rank_results
from heads.runs import Run, load_run_record, predictions_of, stale_reason

N = 126
TRUE = labels_of(N)
NONE = np.zeros(N, np.bool_)


def combine_runs(
    folders: list[Path], results: Path, *, weights: Literal["equal", "fitted"] = "fitted", **more: Any
) -> Run:
    """With weights that are fitted, unless a test says otherwise."""
    return combine.combine_runs(folders, results, weights=weights, **more)


def wrong_on(*thirds: int) -> NDArray[np.bool_]:
    """Sixths of the images that a head has wrong."""
    return np.isin(np.arange(N) // 3 % 6, thirds)


def noise(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((N, 3)).astype(np.float32)


def weights(run: Run) -> dict[str, float]:
    return {one["run"]: one["weight"] for one in run.summary["combination"]["members"]}


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three heads, each wrong on other images than the rest: the average has all of them right."""
    return [answering_run(tmp_path, f"wrong{k}", *[sure(TRUE, wrong_on(k))] * 2) for k in range(3)]


def test_the_average_of_one_run_is_that_run_bit_for_bit(tmp_path: Path) -> None:
    val, test = (np.stack([noise(s), noise(s + 1)]) for s in (0, 5))
    alone = answering_run(tmp_path, "alone", val, test, calibrated=True)
    run = combine_runs([alone], tmp_path)
    own, record = load_run_record(alone), run.folder
    for split in ("val", "test"):
        mine, theirs = predictions_of(record, split), predictions_of(alone, split)  # type: ignore[arg-type]
        assert mine is not None and theirs is not None
        assert mine.logits.tobytes() == theirs.logits.tobytes()
        assert run.summary[split] == own.summary[split]
    assert weights(run) == {"alone": 1.0}
    assert run.performance["latency_ms"] == own.performance["latency_ms"]
    assert run.performance["macs"] == own.performance["macs"]


def test_complementary_errors_are_found_and_the_answers_are_the_weighted_average(
    three: list[Path], tmp_path: Path
) -> None:
    run = combine_runs(three, tmp_path, name="all")
    assert run.metrics["val_top1"] == run.metrics["test_top1"] == 1.0
    assert load_run_record(three[0]).metrics["val_top1"] == pytest.approx(5 / 6)
    found, seen = weights(run), predictions_of(run.folder, "test")
    assert seen is not None
    probabilities = sum(w * softmax(sure(TRUE, wrong_on(k)), axis=1) for k, w in enumerate(found.values()))
    np.testing.assert_allclose(softmax(seen.logits[0], axis=1), probabilities, atol=1e-6)
    ahead = run.summary["combination"]["ahead_of"]["best_member"]["test"]["top1"]
    assert ahead["mean"] == pytest.approx(1 / 6)
    assert ahead["low"] > 0


def test_weights_are_those_of_a_selection_that_is_written_out(tmp_path: Path) -> None:
    folders = [
        answering_run(tmp_path, f"r{k}", 2 * sure(TRUE, wrong_on(k, 5), 1) + noise(k), noise(k)) for k in range(4)
    ]
    run = combine_runs(folders, tmp_path, rounds=8)
    seen = [predictions_of(folder, "val") for folder in folders]
    members = [softmax(one.logits[0].astype(np.float64), axis=1) for one in seen if one is not None]
    chosen: list[int] = []
    best: tuple[float, list[int]] = (np.inf, [])
    for _ in range(8):  # Caruana et al. 2004, by the Brier score
        averages = [sum(members[k] for k in [*chosen, new]) / (len(chosen) + 1) for new in range(4)]
        briers = [((one - np.eye(3)[TRUE]) ** 2).sum(axis=1).mean() for one in averages]
        chosen.append(int(np.argmin(briers)))
        if min(briers) < best[0] - 1e-12:
            best = (min(briers), list(chosen))
    assert list(weights(run).values()) == pytest.approx([best[1].count(k) / len(best[1]) for k in range(4)])


def test_a_member_that_is_noise_has_no_weight_and_costs_nothing(three: list[Path], tmp_path: Path) -> None:
    noisy = [answering_run(tmp_path, f"noise{k}", noise(k), noise(k + 9), calibrated=True) for k in range(3)]
    run = combine_runs([*three, *noisy], tmp_path, name="all")
    found = weights(run)
    assert [found[f"noise{k}"] for k in range(3)] == [0, 0, 0]
    assert sum(found.values()) == pytest.approx(1)
    assert run.performance["macs"] == 3 * 1052
    assert "Without weight, so neither run nor counted: noise0, noise1, noise2." in run.summary["combination"]["said"]


def test_figures_on_validation_are_of_weights_that_did_not_see_the_image(tmp_path: Path) -> None:
    """Forty heads that guess: weights that may see all images make of them something; honest ones do not."""
    folders = [answering_run(tmp_path, f"g{k}", noise(k), noise(k + 99)) for k in range(40)]
    run = combine_runs(folders, tmp_path, name="guesses")
    found = run.summary["combination"]["found"]["top1"]["mean"]
    assert found > 0.45
    assert run.metrics["val_top1"] < found - 0.05
    assert run.summary["val"]["top1"]["ci95"][0] < 1 / 3


def test_images_of_a_group_are_never_judged_by_weights_that_saw_the_group(tmp_path: Path) -> None:
    groups = (np.arange(N) // 12 * 12).astype(np.int64)
    of = [None, groups, groups]  # the first is from before there were groups
    folders = [answering_run(tmp_path, f"g{k}", noise(k), noise(k), groups=of[k]) for k in range(3)]
    run = combine_runs(folders, tmp_path, name="grouped")
    seen = predictions_of(run.folder, "val")
    assert seen is not None and seen.groups is not None
    members = np.stack([softmax(noise(k).astype(np.float64), axis=1) for k in range(3)])
    mixed = softmax(seen.logits[0].astype(np.float64), axis=1)
    used = [np.linalg.lstsq(members[:, i].T, mixed[i], rcond=None)[0] for i in range(N)]
    for first in np.unique(groups):
        same = [used[i] for i in np.flatnonzero(groups == first)]
        np.testing.assert_allclose(same, [same[0]] * len(same), atol=1e-3)
    assert max(np.ptp(used, axis=0)) > 0.01  # else the check above could not fail


def test_heads_on_one_feature_map_pay_for_their_backbone_once(tmp_path: Path) -> None:
    folders = [answering_run(tmp_path, f"s{k}", *[sure(TRUE, wrong_on(k))] * 2, store="one.h5") for k in range(2)]
    folders.append(answering_run(tmp_path, "other", *[sure(TRUE, wrong_on(2))] * 2))
    cost = combine_runs(folders, tmp_path, weights="equal").performance
    assert cost["latency_ms"]["mean"] == pytest.approx(5 + 1 + 5)
    assert cost["macs"] == 1052 + 52 + 1052  # a head is 10 x 4 + 4 x 3
    assert (cost["params_backbone"], cost["params_head"]) == (1400, 177)
    assert cost["features"] == 20


def test_latencies_of_unlike_conditions_do_not_pass_for_one(tmp_path: Path) -> None:
    folders = [answering_run(tmp_path, f"t{k}", *[sure(TRUE, wrong_on(k))] * 2, threads=k + 1) for k in range(2)]
    cost = combine_runs(folders, tmp_path, weights="equal").performance
    assert (cost["device"], cost["threads"]) == ("a test's device, mixed conditions", 2)
    assert cost["latency_ms"]["std"] == pytest.approx(np.hypot(0.3, 0.3))


def test_a_run_elsewhere_is_found_from_the_combination(tmp_path: Path) -> None:
    away = answering_run(tmp_path / "away", "far", noise(1), noise(1))
    here = answering_run(tmp_path / "results", "near", noise(2), noise(2))
    run = combine_runs([here, away], tmp_path / "results", weights="equal")
    assert list(weights(run)) == ["near", "../away/far"]
    assert stale_reason(run) == ""
    moved = (tmp_path / "results").rename(tmp_path / "moved")
    assert stale_reason(load_run_record(moved / run.folder.name)) == ""
    shutil.rmtree(away)
    assert "../away/far is no finished run any more" in stale_reason(load_run_record(moved / run.folder.name))


def test_fewer_seeds_are_paired_so_that_the_heads_that_are_kept_meet(tmp_path: Path) -> None:
    several = np.stack([noise(1), noise(2), noise(3)])
    one = answering_run(tmp_path, "three", several, several)
    summary = json.loads((one / "summary.json").read_text())
    (one / "summary.json").write_text(json.dumps({**summary, "best_seed": 2}))
    other = answering_run(tmp_path, "single", noise(7), noise(7))
    run = combine_runs([one, other], tmp_path, weights="equal")
    seen = predictions_of(run.folder, "test")
    assert seen is not None and run.summary["best_seed"] == 2 and len(run.summary["seeds"]) == 3
    expected = (softmax(several[2], axis=1) + softmax(noise(7), axis=1)) / 2
    np.testing.assert_allclose(softmax(seen.logits[2], axis=1), expected, atol=1e-6)
    assert run.summary["confusion"]["test"] == [
        [int(((i == TRUE) & (expected.argmax(axis=1) == j)).sum()) for j in range(3)] for i in range(3)
    ]


def test_images_in_another_order_are_put_into_one(three: list[Path], tmp_path: Path) -> None:
    straight = combine_runs(three, tmp_path, name="straight")
    order = np.random.default_rng(0).permutation(N)
    images = tuple(f"val/{i}.png" for i in order)
    answering_run(
        tmp_path, "wrong1", sure(TRUE, wrong_on(1))[order], sure(TRUE, wrong_on(1)), labels=TRUE[order], images=images
    )
    shuffled = combine_runs(three, tmp_path, name="shuffled")
    assert shuffled.summary["val"] == straight.summary["val"]
    assert weights(shuffled) == weights(straight)


def test_the_same_runs_give_the_same_bytes(three: list[Path], tmp_path: Path) -> None:
    made = [combine_runs(three, tmp_path, name=name).folder for name in ("one", "two")]
    for name in ("predictions.npz", "performance.json"):
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()
    one, two = (json.loads((folder / "summary.json").read_text()) for folder in made)
    named = {"experiment_name": "", "backbone": ""}
    assert {**one, **named} == {**two, **named}


def test_what_differs_between_runs_is_listed(three: list[Path], tmp_path: Path) -> None:
    fewer = answering_run(tmp_path, "fewer", noise(0)[:99], noise(0), data="elsewhere")
    labelled = answering_run(tmp_path, "labelled", noise(0), noise(0), labels=(TRUE + (np.arange(N) == 7)) % 3)
    named = answering_run(tmp_path, "named", noise(0), noise(0), classes=("a", "b", "x"))
    with pytest.raises(RunError) as error:
        combine_runs([*three, fewer, labelled, named], tmp_path)
    said = str(error.value)
    assert "- fewer is on other data than wrong0 (/elsewhere, /d), or on another cut of it" in said
    assert "- fewer answered 99 val images and wrong0 126; 27 are of one of them alone, such as val/100.png" in said
    assert "- labelled has other labels for 1 val image, such as val/7.png" in said
    assert "- named tells ['a', 'b', 'x'] apart, and wrong0 ['a', 'b', 'c']" in said
    assert not list(tmp_path.glob("combined*"))


def test_what_cannot_be_combined_is_said(three: list[Path], tmp_path: Path) -> None:
    holes = answering_run(tmp_path, "holes", np.where(np.arange(N)[:, None] == 5, np.nan, noise(0)), noise(0))
    slow = answering_run(tmp_path, "slow", sure(TRUE, NONE), sure(TRUE, NONE), batch_size=8)
    older = answering_run(tmp_path, "older", noise(0), noise(0))
    summary = json.loads((older / "summary.json").read_text())
    (older / "summary.json").write_text(json.dumps({n: v for n, v in summary.items() if n != "best_seed"}))
    cases: list[tuple[list[Path], str | None, str]] = [
        ([three[0], holes], None, "gave no finite answer to some val images"),
        ([three[0], slow], None, "latencies were measured at different batch sizes"),
        ([combine_runs(three, tmp_path, name="all").folder, three[0]], None, "is a combination itself"),
        (three, "wrong0", "is there already and no combination, so it is left as it is"),
        ([tmp_path / "nowhere"], None, "is no finished run"),
        ([three[0], older], None, "made by an earlier version of featcache, which did not say best_seed"),
    ]
    for folders, name, said in cases:
        with pytest.raises(RunError, match=said):
            combine_runs(folders, tmp_path, name=name, weights="equal")
    with pytest.raises(OptionsError, match="--name"):
        combine_runs(three, tmp_path, name="a/b")
    one_group = [answering_run(tmp_path, f"g{k}", noise(k), noise(k), groups=np.zeros(N, np.int64)) for k in range(2)]
    with pytest.raises(RunError, match=r"all validation images are of one group.*--weights equal"):
        combine_runs(one_group, tmp_path)


def test_a_combination_is_on_the_board_until_a_member_is_trained_again(three: list[Path], tmp_path: Path) -> None:
    combine_runs(three, tmp_path, name="all")
    board = rank_results(tmp_path, Ranking()).board
    row = next(row for row in board.rows if row.run == "all")
    assert (row.phase, row.backbone, row.val_top1, row.latency_ms, row.macs) == (
        3,
        "all (combination of 3)",
        1.0,
        15.0,
        3156,
    )
    assert row.run not in {one.run for one in (*board.top, *board.feature_maps)}
    assert not left_out_lines(rank_results(tmp_path, Ranking()))
    summary = json.loads((three[1] / "summary.json").read_text())
    (three[1] / "summary.json").write_text(json.dumps({**summary, "inputs": {"options": "others", "data": "d"}}))
    ranked = rank_results(tmp_path, Ranking())
    assert "all" not in {one.run for one in ranked.board.rows}
    (line,) = left_out_lines(ranked)
    assert line.startswith("1 combination of runs that have changed is left out (all: wrong1 was trained again")
    shutil.rmtree(three[1])
    (line,) = left_out_lines(rank_results(tmp_path, Ranking()))
    assert "all: wrong1 is no finished run any more" in line


def test_a_kill_halfway_leaves_what_was_there_before(three: list[Path], tmp_path: Path) -> None:
    before = combine_runs(three[:2], tmp_path, name="all").summary
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads, which a child that dies does not need
        process = os.fork()
    if not process:
        combination_record.save_predictions = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        try:
            combine_runs(three, tmp_path, name="all")
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert load_run_record(tmp_path / "all").summary == before
    assert {row.run for row in rank_results(tmp_path).board.rows} == {"all", *(one.name for one in three)}
    after = combine_runs(three, tmp_path, name="all")
    assert len(after.summary["combination"]["members"]) == 3
    assert not list(tmp_path.glob(".all*"))
