"""Workers on the machines of a Ray cluster, for the same commands as those of one; docs/cluster.md says more."""

from featcache.cluster.connection import Address, connected_workers, parse_address
from featcache.cluster.ray_workers import RayWorkers
from featcache.cluster.torch_training import train_together
from featcache.cluster.worker_placement import Node, Share, place_workers, share_machine

__all__ = [
    "Address",
    "Node",
    "RayWorkers",
    "Share",
    "connected_workers",
    "parse_address",
    "place_workers",
    "share_machine",
    "train_together",
]
