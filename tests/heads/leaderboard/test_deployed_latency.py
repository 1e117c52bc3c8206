"""The leaderboard shows the fastest export that was timed beside PyTorch's latency, and no column where none was."""

from __future__ import annotations

import json
from pathlib import Path

from made_runs import save_run

from heads.leaderboard import leaderboard, shown
from heads.runs import finished_runs


def timed(run: Path, export: str, *measured: tuple[str, int, float]) -> None:
    folder = run / "export" / export
    folder.mkdir(parents=True)
    rows = [{"provider": p, "latency_ms": {"batch_size": n, "mean": mean}} for p, n, mean in measured]
    (folder / "performance_onnx.json").write_text(json.dumps({"measurements": rows}))


def test_the_fastest_export_at_the_run_s_own_batch_size_is_shown(tmp_path: Path) -> None:
    one, _ = (save_run(tmp_path, name, range(80), latency_ms=9.0) for name in ("one", "other"))
    assert "deployed_ms" not in {c.name for c in shown("terminal", leaderboard(finished_runs(tmp_path), data="d").rows)}
    timed(one, "onnx", ("cpu", 1, 4.0), ("cpu", 8, 1.0))
    timed(one, "onnx-int8", ("cpu", 1, 3.0), ("cuda", 1, 3.5))
    (tmp_path / "other" / "export" / "onnx").mkdir(parents=True)
    (tmp_path / "other" / "export" / "onnx" / "performance_onnx.json").write_text('{"measure')
    rows = {row.run: row for row in leaderboard(finished_runs(tmp_path), data="d").rows}
    assert (rows["one"].deployed_ms, rows["one"].deployed_as) == (3.0, "onnx-int8, cpu")
    assert (rows["other"].deployed_ms, rows["other"].deployed_as) == (None, "")
    assert "deployed_ms" in {column.name for column in shown("terminal", list(rows.values()))}
