"""The recipes of a tuned head as the page lists them: the chosen one first, then the best."""

from __future__ import annotations

from typing import Any

import pytest

from heads.report.tried_recipes import tried_recipes


def recipe(rate: float, normalise: str, **figures: float) -> dict[str, Any]:
    return {"learning_rate": rate, "weight_decay": 0.01, "normalise": normalise, **figures}


@pytest.mark.parametrize(
    ("metric", "first", "second"), [("val_top1", (0.9, 0.8), (0.9, 0.8)), ("val_loss", (0.3, 0.5), (0.7, 0.9))]
)
def test_the_chosen_one_is_first_then_the_best(
    metric: str, first: tuple[float, float], second: tuple[float, float]
) -> None:
    figures = [{metric: value, "val_top1": top1} for value, top1 in zip(first, second, strict=True)]
    worse, best = recipe(1e-4, "none", **figures[1]), recipe(1e-3, "none", **figures[0])
    chosen = recipe(0.01, "standard", **figures[0])  # as good as another
    summary = {
        "selection_metric": metric,
        "seeds": [{}],
        "tuned": {
            "recipes": [worse, best, chosen],
            "chosen": {"learning_rate": 0.01, "weight_decay": 0.01, "normalise": "standard"},
            "diverged": 2,
        },
    }
    found = tried_recipes(summary)
    assert found is not None
    assert found["note"] == "3 recipes tried, 1 seed each; val as found; 2 more diverged."
    assert [row[:3] for row in found["rows"]] == [
        ["0.01", "0.01", "standard"],
        ["0.001", "0.01", "none"],
        ["0.0001", "0.01", "none"],
    ]
    assert [row[-1] for row in found["rows"]] == ["chosen", "", ""]
    assert found["titles"][3] == metric.replace("_", " ")
    assert all(len(row) == len(found["titles"]) for row in found["rows"])


def test_a_head_that_was_not_tuned_has_none() -> None:
    assert tried_recipes({"tuned": None}) is None
    assert tried_recipes({}) is None
    assert tried_recipes({"tuned": {"recipes": []}}) is None
