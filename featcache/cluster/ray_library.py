"""Ray, imported where a cluster is asked for: it is an extra, and takes half a second."""

from __future__ import annotations

import os
from typing import Any

from featcache.cluster.worker_placement import Node
from featcache.errors import InputError


def import_ray() -> Any:
    """The module `ray`, told to send no statistics of its use; raises InputError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # workers without a GPU: as they are
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"--cluster: needs Ray, which cannot be imported ({error}). Install it here and on every machine of the "
            "cluster: pip install 'featcache[cluster]'"
        ) from None
    return ray


def living_nodes(ray: Any) -> list[Node]:
    """The machines of the cluster that Ray counts as alive, with what they have in all."""
    return [
        Node(one["NodeManagerHostname"], one["Resources"].get("CPU", 0.0), one["Resources"].get("GPU", 0.0))
        for one in ray.nodes()
        if one["Alive"]
    ]
