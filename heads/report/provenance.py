"""The page's provenance: the devices, versions, weights and images that its figures come from."""

from __future__ import annotations

import datetime
from typing import Any

from featcache import __version__
from featcache.counted_nouns import counted
from heads.report.report_contents import Contents


def provenance_of(contents: Contents) -> dict[str, Any]:
    """What the runs of a leaderboard say of themselves, each different answer once."""
    environments = [one.environment for one in contents.details.values()]
    performances = [run.performance for run in contents.runs.values()]
    versions: dict[str, set[str]] = {}
    for environment in environments:
        for package, version in environment.get("versions", {}).items():
            versions.setdefault(package, set()).add(version)
    summary = contents.runs[contents.rows[0].run].summary
    conditions = {
        f"{p['device']}, {p['precision']}, {counted(p['threads'], 'thread')}, batch {p['latency_ms']['batch_size']}, "
        f"{counted(p['latency_ms']['iterations'], 'pass')} after {p['latency_ms']['warmup']} to warm up"
        for p in performances
    }
    return {
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "featcache": __version__,
        "data": summary["data"],
        "conditions": sorted(conditions),
        "busy": list(
            dict.fromkeys(row.backbone for row in contents.rows if contents.runs[row.run].performance.get("busy"))
        ),
        "platforms": sorted({str(e["platform"]) for e in environments if "platform" in e}),
        "pythons": sorted({str(e["python"]) for e in environments if "python" in e}),
        "versions": {package: sorted(found) for package, found in sorted(versions.items())},
        "weights": [
            (row.backbone, row.weights, contents.runs[row.run].summary["source"], row.run) for row in contents.rows
        ],
        "unmapped": {
            row.backbone: p["unmapped_operators"]
            for row in contents.rows
            if (p := contents.runs[row.run].performance).get("unmapped_operators")
        },
    }
