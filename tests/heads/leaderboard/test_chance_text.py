"""What the answer owes to chance: the winner corrected, what may be the best, how many images would settle it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import EVERY, save_run

from featcache.errors import OptionsError, RunError
from featcache.records import digest
from featcache.statistics import Corrected, Scores, correct_for_selection
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.chance_text import chosen_among, rounded, tie_text
from heads.leaderboard.chosen_best import contender
from heads.leaderboard.column import Place
from heads.leaderboard.ranked_results import Ranking, rank_results
from heads.leaderboard.recipe_notes import recipe_notes
from heads.leaderboard.shown_columns import shown
from heads.leaderboard.verdict_text import verdict
from heads.runs.predictions import load_predictions, save_predictions
from heads.runs.searched_recipe import SearchedRecipe, write_searched
from heads.runs.val_outcomes import ValOutcomes, load_val_outcomes, save_val_outcomes


def said(results: Path, begin: str) -> str:
    """The one sentence of the verdict that begins so."""
    (line,) = (line for line in verdict(rank_results(results, Ranking(data="d"))) if line.startswith(begin))
    return line


def board(results: Path, rank_by: str | None = None) -> Leaderboard:
    return rank_results(results, Ranking(data="d", rank_by=rank_by)).board


def lucky_runs(results: Path, count: int = 12, epochs: int = 50, selection: str = "val_top1", phase: int = 1) -> None:
    """Runs on 100 images that are right on each with a chance of 0.7, in any epoch; each kept its best one. All images
    are of one class, so that balanced accuracy is top-1."""
    rng = np.random.default_rng(0)
    for number in range(count):
        right = rng.random((1, 1, epochs, 100)) < 0.7
        best = right[0, 0].mean(axis=1).argmax()
        name = f"{'r' if phase == 1 else 'tuned'}{number:02}"
        folder = save_run(results, name, np.flatnonzero(right[0, 0, best]).tolist(), phase=phase)
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps({**summary, "selection_metric": selection}))
        save_val_outcomes(
            folder / "val_outcomes.npz",
            ValOutcomes(
                images=tuple(f"val/{i}.png" for i in EVERY),
                fold=np.zeros(100, np.int64),
                top1=right,
                top3=np.ones_like(right),
                loss=np.zeros((1, 1, 1, epochs)),
                epochs=np.full((1, 1, 1), epochs),
                chosen=np.full((1, 1, 1), best),
                selected=None if selection == "val_top1" else right.astype(np.float32),
            ),
        )


def test_the_luck_of_twelve_runs_of_fifty_epochs_is_taken_off(tmp_path: Path) -> None:
    lucky_runs(tmp_path)
    found = board(tmp_path)
    first = found.rows[0]
    assert first.val_top1 > 0.8
    assert first.corrected_top1 == pytest.approx(0.7, abs=0.07)
    assert first.corrected_top1_low is not None and first.corrected_top1_high is not None
    assert first.corrected_top1_low < 0.7 < first.corrected_top1_high
    assert {row.corrected_top1 for row in found.rows[1:]} == {None}
    assert {row.rank for row in found.rows} == {1}
    line = said(tmp_path, "On validation, where it was chosen, it gets 0.8")
    assert "as found; corrected for having been chosen among 12 runs of 50 epochs each, 0.6" in line
    assert said(tmp_path, "At 95%") == "At 95%, any of the 12 may be the best."


def test_the_luckiest_of_twelve_guesses_is_not_better_than_a_constant_answer(tmp_path: Path) -> None:
    """All of them are right on 0.7 of the images in truth, as the most frequent class would be."""
    lucky_runs(tmp_path, epochs=20)
    for file in tmp_path.glob("*/summary.json"):
        summary = json.loads(file.read_text())
        summary["per_class"]["val"] = [{"class": c, "recall": 1.0, "n": n} for c, n in (("many", 70), ("few", 30))]
        file.write_text(json.dumps(summary))
    ranked = rank_results(tmp_path, Ranking(data="d"))
    assert min(ranked.first.summary["val"]["top1"]["ci95"]) > 0.7
    answer = "always saying the most frequent class, which gets 0.700 top-1 there."
    line = f"Corrected for having been chosen, it is not told, on validation, from {answer}"
    assert line in verdict(ranked)


def test_of_many_images_too_all_of_top1_counts_less_than_one_outcome_of_top3() -> None:
    """The first epoch is better by one image in top-3: without that one, in a tenth of the splits, top-1 decides."""
    images = 9_000
    top3, top1 = np.ones((2, 1, 1, 2, images), np.bool_)
    top3[..., 1, 5] = top1[..., 0, :] = top1[..., 1, 5] = False
    kept = Scores(top1[0, :, 0].astype(np.float64), tuple(map(str, range(images))))
    every = np.zeros(images, np.int64), np.full((1, 1, 1), 2), np.zeros((1, 1, 1), np.int64)
    seen = ValOutcomes(kept.units, every[0], top1, top3, np.zeros((1, 1, 1, 2)), *every[1:])
    one = correct_for_selection([contender(seen, "val_top3", kept, np.zeros(images))], 0, ["top1"])["top1"]
    assert one.mean == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("selection", ["val_top1", "val_balanced_accuracy"])
def test_by_whatever_runs_are_ranked_the_luck_of_their_epochs_is_taken_off(tmp_path: Path, selection: str) -> None:
    lucky_runs(tmp_path, selection=selection)
    found = board(tmp_path, rank_by="balanced_accuracy")
    assert found.best["top1"].found > 0.8
    assert found.best["top1"].mean == pytest.approx(0.7, abs=0.05)
    assert found.best["top1"].choices == ((1, 50),) * 12
    own = found.best["balanced_accuracy"].mean  # where it is known of every epoch, it is corrected for these too
    assert own == pytest.approx(0.7, abs=0.05) if selection == "val_balanced_accuracy" else own < 0.81


def test_runs_from_before_there_were_groups_are_compared_by_them_too(tmp_path: Path) -> None:
    """Ten images of each video: two runs differ on two videos, which is no lead, and on 20 images, which would be."""
    save_run(tmp_path, "before", range(70))
    assert board(tmp_path).rows[0].rank == 1
    folder = save_run(tmp_path, "after", range(90))
    alone = board(tmp_path)
    assert [row.rank for row in alone.rows] == [1, 2]
    val = load_predictions(folder / "predictions.npz", "val")
    save_predictions(folder / "predictions.npz", {"val": replace(val, groups=np.arange(100) // 10 * 10)})
    found = board(tmp_path)
    assert [row.rank for row in found.rows] == [1, 1]
    assert found.behind["before"]["top1"].low < alone.behind["before"]["top1"].low


def test_epochs_are_chosen_again_when_it_is_ranked_by_another_metric(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 1)
    by_top1 = board(tmp_path).best["top1"]
    for metric in ("loss", "balanced_accuracy"):
        found = board(tmp_path, metric).best["top1"]
        assert (found.found, found.mean) == (by_top1.found, by_top1.mean)
        assert found.mean < found.found - 0.01


def test_epochs_that_were_not_kept_of_some_runs_are_not_counted(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 3)
    (tmp_path / "r01" / "val_outcomes.npz").unlink()
    assert "having been chosen among 3 runs of up to 50 epochs each, " in said(tmp_path, "On validation")


@pytest.mark.parametrize(
    ("choices", "among"),
    [
        (((1, 1),), ""),
        (((1, 50),), "50 epochs"),
        (((15, 50),), "15 recipes of 50 epochs each"),
        (((1, 1), (1, 1)), "2 runs"),
        (((1, 50), (15, 50)), "2 runs with 16 recipes of 50 epochs each"),
        (((1, 1), (15, 50)), "2 runs with 16 recipes of up to 50 epochs each"),
    ],
)
def test_what_the_best_was_chosen_among(choices: tuple[tuple[int, int], ...], among: str) -> None:
    assert chosen_among(Corrected(0.9, 0.8, 0.7, 0.9, len(choices), choices), "runs") == among


def test_of_one_group_of_images_nothing_is_chosen_again(tmp_path: Path) -> None:
    """All validation images are frames of one video."""
    for name in ("a", "b"):
        folder = save_run(tmp_path, name, range(80))
        val = load_predictions(folder / "predictions.npz", "val")
        save_predictions(folder / "predictions.npz", {"val": replace(val, groups=np.zeros(100, np.int64))})
    save_run(tmp_path, "before", range(85))  # the first, from before there were groups
    found = board(tmp_path)
    assert found.best == {}
    assert [row.rank for row in found.rows] == [1, 1, 1]
    assert found.rows[0].corrected_top1 is None
    assert said(tmp_path, "What being chosen added").endswith(
        "its validation images are one group of 100 images, and it takes others to choose again by."
    )
    assert said(tmp_path, "All 100") == (
        "All 100 validation images are one group: nothing can be said of other groups by that."
    )
    assert "; 1 group (100 validation images) cannot tell any of them from it." in said(tmp_path, "before gives")
    assert not any("seeds might" in line for line in verdict(rank_results(tmp_path)))


def test_without_outcomes_of_epochs_the_choice_of_the_run_is_corrected(tmp_path: Path) -> None:
    lucky_runs(tmp_path)
    for file in tmp_path.glob("*/val_outcomes.npz"):
        file.write_bytes(b"damaged")
    first = board(tmp_path).rows[0]
    assert first.corrected_top1 is not None
    assert first.corrected_top1 < first.val_top1
    assert "among 12 runs, 0." in said(tmp_path, "On validation")


def test_those_that_may_be_the_best_are_named_and_marked(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, share in enumerate([0.93, 0.92, 0.90, 0.55, 0.5]):
        save_run(tmp_path, f"r{number}", np.flatnonzero(rng.random(100) < share).tolist())
    found = board(tmp_path)
    assert [row.may_be_best for row in found.rows] == ["yes"] * 3 + [""] * 2
    assert [found.rank_text(row) for row in found.rows] == ["1=•"] * 3 + ["4="] * 2
    line = said(tmp_path, "At 95%")
    assert re.fullmatch(r"At 95%, the best is among these 3: r\d, r\d and r\d\.", line)


def test_one_that_is_alone_is_the_best(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(95))
    save_run(tmp_path, "b", range(40))
    save_run(tmp_path, "c", range(39))
    assert said(tmp_path, "At 95%") == "At 95%, a is the best of them."
    assert [board(tmp_path).rank_text(row) for row in board(tmp_path).rows] == ["1", "2=", "2="]


def test_how_many_images_would_tell_is_said_of_the_first_that_is_tied(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90))
    save_run(tmp_path, "b", range(5, 92))  # 5 images against it, 2 for it
    save_run(tmp_path, "c", range(30))
    line = said(tmp_path, "To tell a and b apart, 0.030 from each other in top-1, about ")
    (more,) = re.findall(r"about ([\d,]+) more validation images would be needed\.", line)
    # (2.34 + 0.84)^2 x (0.07 - 0.03^2) / 0.03^2 = 776 images in all
    assert 500 < int(more.replace(",", "")) < 900


def test_of_groups_it_is_groups_that_would_tell(tmp_path: Path) -> None:
    """Two images of each patient: half as many patients as images would be needed, and it is these that are named."""
    for name, right in (("a", range(90)), ("b", range(6, 92)), ("c", range(30))):
        folder = save_run(tmp_path, name, right)
        val = load_predictions(folder / "predictions.npz", "val")
        save_predictions(folder / "predictions.npz", {"val": replace(val, groups=np.arange(100) // 2 * 2)})
    line = said(tmp_path, "To tell a and b apart, 0.040 from each other in top-1, about ")
    assert re.search(r"about [\d,]+ more groups of validation images would be needed\.", line)


def test_where_no_number_would_do_none_is_said(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90))
    save_run(tmp_path, "b", range(10, 100))
    assert said(tmp_path, "No number") == (
        "No number of validation images is in sight that would tell a and b apart in top-1."
    )


def test_where_seeds_differ_more_seeds_are_asked_for(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(95), range(80))
    save_run(tmp_path, "b", range(85), range(70))
    assert said(tmp_path, "More validation images alone") == (
        "More validation images alone would not tell a and b apart in top-1, since their seeds differ too much; more "
        "seeds might (training.seeds)."
    )


@pytest.mark.parametrize(("images", "said_as"), [(7, 7), (412, 500), (1234, 1300), (15_001, 16_000), (99, 100)])
def test_a_number_of_images_is_no_more_exact_than_it_can_be(images: int, said_as: int) -> None:
    assert rounded(images) == said_as


def test_tuned_heads_beside_uniform_ones_are_a_word_of_caution(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90))
    folder = save_run(tmp_path, "b", range(5, 92))
    assert not any("--heads" in line for line in verdict(rank_results(tmp_path)))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "tuned": {"recipes": [], "chosen": {}}}))
    cautions = {
        heads: [line for line in verdict(rank_results(tmp_path, Ranking("d", heads))) if "--heads" in line]
        for heads in ("auto", "tuned", "uniform", "all")
    }
    (line,) = cautions.pop("all")
    assert line.startswith("Tuned and uniform heads stand on one board: ")
    assert line.endswith("compares like with like.")
    assert not any(cautions.values())


def test_the_verdict_quotes_the_test_figure(tmp_path: Path) -> None:
    folder = save_run(tmp_path, "a", range(90))
    summary = json.loads((folder / "summary.json").read_text())
    summary["test"]["top1"] = {"mean": 0.771, "std": 0.0, "ci95": [0.701, 0.831], "n": 70}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert "its heads get 0.771 [0.701, 0.831] of 70 test images right" in verdict(rank_results(tmp_path))[0]


def test_leaked_images_are_said_beside_the_figures_that_they_are_in(tmp_path: Path) -> None:
    folder = save_run(tmp_path, "a", range(90))
    save_run(tmp_path, "b", range(60))
    summary = json.loads((folder / "summary.json").read_text())
    leaked = {"leaked": 12, "n_without": 58, "top1": 0.9, "top1_without": 0.8814}
    none = {"leaked": 0, "n_without": 100, "top1": 0.9, "top1_without": 0.9}
    groups = {"val": {**leaked, "leaked": 1, "n_without": 99}, "test": {**leaked, "n_without": 0, "top1_without": None}}
    for copies, of_groups, expected in (
        ({"val": none, "test": none}, None, []),
        (
            {"val": none, "test": leaked},
            None,
            ["Of these 70 test images 12 have a copy that was trained on or chosen by: 0.881 of the others are right."],
        ),
        (
            {"val": none, "test": none},
            groups,
            [
                "Of these 12 test images 12 are of a group (data.groups) that was trained on or chosen by: there "
                "are no others.",
                "Of the 100 validation images that the ranking is by 1 is of a group (data.groups) that was trained on "
                "or chosen by: 0.881 of the others are right.",
            ],
        ),
    ):
        text = json.dumps({**summary, "leakage": copies, "group_leakage": of_groups})
        (folder / "summary.json").write_text(text)
        lines = verdict(rank_results(tmp_path))
        assert [line for line in lines if "trained on or chosen by" in line] == expected
        assert lines[1 : 1 + len(expected)] == expected


def test_ranking_by_another_metric(tmp_path: Path) -> None:
    save_run(tmp_path, "broad", range(60))
    save_run(tmp_path, "sharp", range(90), top3=range(91))
    assert [row.run for row in board(tmp_path).rows] == ["broad", "sharp"]
    for name in ("top1", "val_balanced_accuracy"):
        found = board(tmp_path, rank_by=name)
        assert [(row.run, row.rank) for row in found.rows] == [("sharp", 1), ("broad", 2)]
    assert board(tmp_path, rank_by="loss").order == ("loss",)
    with pytest.raises(OptionsError, match=r"--rank-by top5: is no metric\. Expected top1, top3, loss, "):
        board(tmp_path, rank_by="top5")


@pytest.mark.parametrize("place", ["terminal", "page", "markdown"])
def test_what_it_is_ranked_by_is_shown_wherever_the_board_is(tmp_path: Path, place: Place) -> None:
    save_run(tmp_path, "a", range(60))
    for name in ("loss", "balanced_accuracy", "top1", "top3"):
        found = board(tmp_path, rank_by=name)
        (column,) = (c for c in shown(place, found.rows, found.order[0]) if c.name == f"val_{name}")
        assert column.text(found.rows[0], place).startswith(f"{found.rows[0].value(f'val_{name}'):.3f}")
    assert "val_loss" not in [c.name for c in shown(place, found.rows, "top3")]


def test_the_best_fine_tuned_run_is_corrected_among_those(tmp_path: Path) -> None:
    save_run(tmp_path, "start", range(60))
    lucky_runs(tmp_path, count=6, phase=2)
    for folder in tmp_path.glob("tuned*"):
        summary = json.loads((folder / "summary.json").read_text())
        summary |= {"from_run": "start", "from_inputs": digest(None)}
        (folder / "summary.json").write_text(json.dumps(summary))
    found = board(tmp_path)
    first, *others = (row for row in found.rows if row.phase == 2)
    assert first.val_top1 > 0.8
    assert first.corrected_top1 == pytest.approx(0.7, abs=0.07)
    assert {row.corrected_top1 for row in others} == {None}
    line, *rest = found.gains()
    assert "corrected for having been chosen among the 6 fine-tuned runs of 50 epochs each, 0.6" in line
    assert len(rest) == 5 and "corrected" not in " ".join(rest)
    # The recipes that a search tried are no runs of the board: what their choice added is taken off as well.
    write_searched(tmp_path / first.run, SearchedRecipe(20, {"top1": 0.04}))
    searched = next(row for row in board(tmp_path).rows if row.run == first.run)
    assert (searched.recipes_tried, searched.recipe_added_top1) == (20, 0.04)
    assert searched.corrected_top1 == pytest.approx(first.corrected_top1 - 0.04)
    assert searched.val_top1 == first.val_top1 and searched.rank == first.rank
    line = board(tmp_path).gains()[0]
    assert "of 50 epochs each, and its recipe the best of 20 tried on the same images, 0." in line
    (tmp_path / first.run / "searched.json").unlink()
    write_searched(tmp_path / others[0].run, SearchedRecipe(20, {"top1": 0.04}))
    (line,) = [one for one in board(tmp_path).gains() if "searched" in one or "best of 20" in one]
    assert line.endswith("; recipe the best of 20 tried on the same images, which added 0.040")
    ranked = rank_results(tmp_path)
    assert "0.04" in recipe_notes(ranked)[others[0].run][0]
    for file in tmp_path.glob("tuned*/val_outcomes.npz"):
        file.unlink()
    assert board(tmp_path).gains()[0].endswith("(not for their epochs: not all of these are kept)")


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "loss"])
def test_the_corrected_figure_of_another_ranking_stands_on_the_board(tmp_path: Path, metric: str) -> None:
    for name, right in (("a", range(70)), ("b", range(20, 85))):
        folder = save_run(tmp_path, name, right)
        if metric == "loss":  # which is known of other epochs where it chose them
            summary = json.loads((folder / "summary.json").read_text())
            (folder / "summary.json").write_text(json.dumps({**summary, "selection_metric": "val_loss"}))
    found = board(tmp_path, rank_by=metric)
    first, of_it = found.rows[0], found.best[metric]
    sign = -1 if metric == "loss" else 1
    assert first.corrected_by == metric
    assert (first.corrected_low, first.corrected, first.corrected_high) == tuple(
        sorted(sign * end for end in (of_it.low, of_it.mean, of_it.high))
    )
    assert "corrected" in [c.name for c in shown("page", found.rows, metric)]
    assert {(row.corrected_by, row.corrected) for row in found.rows[1:]} == {("", None)}
    usual = board(tmp_path)
    assert {(row.corrected_by, row.corrected) for row in usual.rows} == {("", None)}
    assert "corrected" not in [c.name for c in shown("page", usual.rows, "top1")]


def test_what_is_not_corrected_for_its_epochs_does_not_stand_on_the_board_as_corrected(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 1)
    for metric in ("loss", "auroc"):
        assert (board(tmp_path, metric).rows[0].corrected_by, board(tmp_path, metric).rows[0].corrected) == ("", None)
    (line,) = (
        x for x in verdict(rank_results(tmp_path, Ranking("d", rank_by="loss"))) if x.startswith("On validation")
    )
    assert re.search(
        r"it gets 0\.\d+ loss as found, and cannot be corrected \(not for its epochs: of others than those kept "
        r"loss is not known\)\. That is 0\.\d+ top-1 as found; corrected for 50 epochs, 0\.",
        line,
    )


def test_a_run_without_the_metric_is_named(tmp_path: Path) -> None:
    save_run(tmp_path, "new", range(60))
    folder = save_run(tmp_path, "old", range(60))
    summary = json.loads((folder / "summary.json").read_text())
    del summary["val"]["macro_f1"]
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RunError, match="1 of 2 runs do not have this metric, such as old"):
        board(tmp_path, rank_by="macro_f1")


def test_where_each_is_behind_another_in_some_metric_there_is_a_best_set(tmp_path: Path) -> None:
    """a is ahead of b in top-3; where top-3 does not tell, b is ahead of c in top-1, and c of a."""
    save_run(tmp_path, "a", range(10, 40), top3=range(95))
    save_run(tmp_path, "b", range(85), top3=range(85))
    save_run(tmp_path, "c", range(10, 65), top3=range(10, 100))
    found = board(tmp_path)
    assert found.rows[0].run == "c"
    assert found.rows[0].may_be_best == "yes"
    assert said(tmp_path, "At 95%") == "At 95%, c is the best of them."


def test_all_that_are_not_told_from_the_first_share_its_rank(tmp_path: Path) -> None:
    """b is right wherever a is but on 8 images; c, which is right on fewer, has errors of its own."""
    save_run(tmp_path, "a", range(88))
    save_run(tmp_path, "b", range(8, 88))
    save_run(tmp_path, "c", range(21, 100))
    found = board(tmp_path)
    assert [(row.run, row.rank) for row in found.rows] == [("a", 1), ("c", 1), ("b", 3)]
    assert [found.rank_text(row) for row in found.rows] == ["1=•", "1=•", "3"]
    assert ", tied with c; ahead of b by 0.080 [" in verdict(rank_results(tmp_path, Ranking(data="d")))[0]


def test_the_verdict_is_of_the_same_comparisons_as_the_ranks_beside_fine_tuned_runs(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(80))
    save_run(tmp_path, "b", range(6, 80))  # 2.5 standard errors: enough for one pair, too little among these
    for number in range(6):
        save_run(tmp_path, f"tuned{number}", range(number, 80, 2 + number), phase=2)
    found = board(tmp_path)
    ranks = {row.run: row.rank for row in found.rows}
    assert ranks["a"] == ranks["b"]
    assert found.behind["b"]["top1"].tied
    assert ", tied with b; " in verdict(rank_results(tmp_path, Ranking(data="d")))[0]


def test_the_verdict_is_of_the_same_comparisons_as_the_ranks_by_another_metric(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(88), top3=range(98))
    save_run(tmp_path, "b", range(12, 91), top3=range(2, 100))  # 12 images to 3: enough in a single metric
    found = board(tmp_path, "balanced_accuracy")
    assert [row.rank for row in found.rows] == [1, 2]
    assert not found.behind["b"]["balanced_accuracy"].tied
    assert (
        "; ahead of b by 0.090 [" in verdict(rank_results(tmp_path, Ranking(data="d", rank_by="balanced_accuracy")))[0]
    )


def test_where_the_outcomes_of_the_first_are_damaged_it_is_corrected_for_the_choice_of_the_run_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else it would stand with epochs that have seen the images held out, and the others with epochs that have not."""
    lucky_runs(tmp_path, 4)
    first = board(tmp_path).rows[0].run
    other = next(name for name in ("r00", "r01") if name != first)
    file = tmp_path / first / "val_outcomes.npz"
    whole = file.read_bytes()
    foreign = (tmp_path / other / "val_outcomes.npz").read_bytes()
    for damaged in (b"", whole[:-200], foreign, None):
        caplog.clear()
        file.unlink()
        if damaged is not None:
            file.write_bytes(damaged)
        found = board(tmp_path)
        assert found.best["top1"].choices == ((1, 1),) * 4
        lines = [line for line in caplog.messages if str(file) in line]
        assert [line.count(str(file)) for line in lines] == [1] * (damaged is not None)
    assert "among 4 runs, 0." in said(tmp_path, "On validation")
    assert said(tmp_path, "The epochs") == (
        f"The epochs and recipes of the first one ({first}) were not chosen again, since its val_outcomes.npz is "
        "missing, and so neither were those of the others."
    )


def test_a_run_that_lacks_its_outcomes_is_named(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 3)
    last = board(tmp_path).rows[-1].run
    (tmp_path / last / "val_outcomes.npz").unlink()
    assert said(tmp_path, "The epochs").startswith(
        f"The epochs and recipes of {last} were not chosen again, since its "
    )


def test_what_it_is_ranked_by_is_given_as_found_and_corrected_and_named(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 3, selection="val_balanced_accuracy")

    def line(by: str) -> tuple[str, str]:
        lines = verdict(rank_results(tmp_path, Ranking("d", rank_by=by)))
        return lines[0], next(one for one in lines if one.startswith("On validation"))

    first, own = line("balanced_accuracy")
    figure = board(tmp_path, "balanced_accuracy").best["balanced_accuracy"]
    assert re.search(r"\(top-3 1\.000, balanced accuracy 0\.\d+ \[0\.\d+, 0\.\d+\]\)", first)
    assert own.startswith(
        f"On validation, where it was chosen by balanced accuracy, it gets {figure.found:.3f} balanced accuracy as "
        f"found; corrected for having been chosen among 3 runs of 50 epochs each, {figure.mean:.3f} [{figure.low:.3f}, "
    )
    assert re.search(r" That is 0\.\d+ top-1 as found, and 0\.\d+ \[0\.\d+, 0\.\d+\] corrected\.$", own)
    _, other = line("loss")  # which is known of the epochs that were kept alone
    assert re.search(
        r"chosen by loss, it gets (0\.\d+) loss as found; corrected for having been chosen among 3 runs, ", other
    )
    assert "(not for its epochs: of others than those kept loss is not known)" in other
    assert "top-1 as found; corrected for 3 runs of 50 epochs each, 0." in other
    for folder in tmp_path.glob("r*"):  # as if two recipes had been tried
        kept = load_val_outcomes(folder / "val_outcomes.npz")
        every = {
            name: np.repeat(getattr(kept, name), 2, axis=0) for name in ("top1", "top3", "loss", "epochs", "chosen")
        }
        assert kept.selected is not None
        more = replace(kept, **every, selected=np.repeat(kept.selected, 2, axis=0))
        save_val_outcomes(folder / "val_outcomes.npz", more)
    assert "(not for its recipes and epochs: of others than those kept loss is not known)" in line("loss")[1]
    assert "-" not in other.split("loss as found")[1].split("(not")[0]


def test_of_runs_that_are_no_match_it_is_said_that_they_are_not_counted(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90))
    save_run(tmp_path, "b", range(1, 90))
    save_run(tmp_path, "c", range(20), top3=range(30))
    line = said(tmp_path, "On validation")
    assert "corrected for having been chosen among the 2 of 3 runs that top-3 does not tell from it, 0." in line


def test_the_footnote_of_ties_is_true_of_mixed_heads_too(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90))
    folder = save_run(tmp_path, "b", range(5, 92))
    assert tie_text(board(tmp_path)).endswith("at 95% for all comparisons together")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "tuned": {"recipes": [], "chosen": {}}}))
    mixed = rank_results(tmp_path, Ranking("d", "all")).board
    assert tie_text(mixed).endswith("comparisons together, the leads of tuned heads over uniform ones aside")


def test_of_groups_it_is_groups_that_cannot_tell(tmp_path: Path) -> None:
    for name, right in (("a", range(90)), ("b", range(6, 92))):
        folder = save_run(tmp_path, name, right)
        val = load_predictions(folder / "predictions.npz", "val")
        save_predictions(folder / "predictions.npz", {"val": replace(val, groups=np.arange(100) // 2 * 2)})
    assert said(tmp_path, "a gives").endswith("; 50 groups (100 validation images) cannot tell the other from it.")


def test_a_probe_puts_none_first_that_is_right_on_nothing_or_that_all_tie_with(tmp_path: Path) -> None:
    for name in "ab":
        save_run(tmp_path / "none", name, range(90), probe=())
        save_run(tmp_path / "tie", name, range(90), probe=range(80))
    assert said(tmp_path / "none", "Without any head") == (
        "Without any head, a linear probe of the training images gets none of them right, whatever the feature map."
    )
    assert said(tmp_path / "tie", "Without any head").endswith(
        "images tells none of 2 from its best, a (0.800 right, cross-validated), tied with b."
    )


def test_what_a_file_of_outcomes_is_is_said_as_it_is(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 4)
    last, other = (row.run for row in board(tmp_path).rows[:-3:-1])
    foreign = (tmp_path / other / "val_outcomes.npz").read_bytes()
    (tmp_path / last / "val_outcomes.npz").write_bytes(foreign)
    assert "since its val_outcomes.npz is of another run: in this choice it stands" in said(tmp_path, "The epochs")
    (tmp_path / other / "val_outcomes.npz").write_bytes(b"damaged")
    assert "since their val_outcomes.npz is damaged or of another run: in" in said(tmp_path, "The epochs")


def test_epochs_chosen_by_what_an_earlier_version_kept_are_not_chosen_again(tmp_path: Path) -> None:
    lucky_runs(tmp_path, 4, selection="val_auroc")
    last = board(tmp_path).rows[-1].run
    file = tmp_path / last / "val_outcomes.npz"
    kept = load_val_outcomes(file)
    assert all("earlier version" not in line for line in verdict(rank_results(tmp_path, Ranking(data="d"))))
    save_val_outcomes(file, replace(kept, parts_version=1))
    assert "val_outcomes.npz is of an earlier version of featcache" in said(tmp_path, "The epochs")


def test_a_run_whose_answers_are_lost_is_warned_of_once_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lucky_runs(tmp_path, 4)
    lost = board(tmp_path).rows[-1].run
    file = tmp_path / lost / "predictions.npz"
    file.write_bytes(file.read_bytes()[:300])
    caplog.clear()
    line = said(tmp_path, "On validation")
    assert "corrected for having been chosen among 3 of the 4 runs of 50 epochs each, 0." in line
    assert said(tmp_path, lost) == (
        f"{lost} is compared as if it had answered other images, and not chosen among again, since its predictions.npz "
        "is damaged."
    )
    caplog.clear()
    board(tmp_path)
    (line,) = (line for line in caplog.messages if str(file) in line)
    assert "is damaged" in line and "as if it had answered other images" in line
    file.unlink()
    assert said(tmp_path, lost).endswith("its predictions.npz is missing.")


def test_boards_of_one_seed_say_what_they_do_not_know(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(95), range(90))
    save_run(tmp_path, "b", range(70), range(72))
    lines = verdict(rank_results(tmp_path))
    assert not any("one seed" in line for line in lines)
    save_run(tmp_path / "alone", "a", range(95))
    assert not any("one seed" in line for line in verdict(rank_results(tmp_path / "alone")))
    save_run(tmp_path / "alone", "b", range(70))
    assert said(tmp_path / "alone", "Every run has one seed") == (
        "Every run has one seed: leads, ties and the figures of the first one, the corrected ones too, are of these "
        "heads alone; what of them is the luck of a seed is not known, and not taken off (training.seeds)."
    )


def test_of_two_it_is_either_and_of_very_many_the_first_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(15):
        save_run(tmp_path, f"r{number:02}", range(number, 80 + number))
        if number == 1:
            assert said(tmp_path, "At 95%") == "At 95%, either of the two may be the best."
    monkeypatch.setattr("heads.leaderboard.chosen_best.MOST", 4)
    monkeypatch.setattr("heads.leaderboard.chance_text.MOST", 4)
    assert re.search(r", tied with r\d\d(, r\d\d){11} and 2 more;", said(tmp_path, "r00 gives"))
    assert "chosen among the 4 best of 15 runs, 0." in said(tmp_path, "On validation")
    assert said(tmp_path, "Beyond the 4 best").endswith("none is chosen among again: it would hardly ever be chosen.")
