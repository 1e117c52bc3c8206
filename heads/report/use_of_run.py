"""What can be done with a run next, as commands to copy."""

from __future__ import annotations

import shlex

from heads.runs import Run


def use_of_run(run: Run) -> list[tuple[str, str]]:
    """What each command is for, and the command, to be run where this report was made."""
    folder = shlex.quote(str(run.folder))
    found = [
        ("say what other images are", f"featcache predict {folder} IMAGES... --out predictions.csv"),
        ("the same by HTTP and on a page", f"featcache serve {folder}"),
        ("use it without featcache", f"featcache export {folder} --to onnx"),
    ]
    if run.summary["phase"] == 1 and "+" not in run.summary["backbone"]:
        found.append(("fine-tune it end to end", f"featcache finetune --from-run {folder}"))
    return found
