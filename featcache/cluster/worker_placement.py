"""How many workers a cluster has room for, and what each gets of a machine: arithmetic, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featcache.errors import InputError

ROUNDING = 1e-6  # of fractions of a GPU: three thirds are one


@dataclass(frozen=True)
class Node:
    """One machine of the cluster."""

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Share:
    """What each worker has of its machine, and how many there are in all."""

    workers: int
    cpus: int  # cores, each for a thread of PyTorch and one that decodes
    gpus: float  # 0: it computes on the CPU; 0.25: four workers compute on one


def place_workers(nodes: Sequence[Node], gpus: float | None = None, cpus: int | None = None) -> Share:
    """One worker for each GPU, or for each machine where none has a GPU, with its even part of the machine's cores;
    `gpus` and `cpus` say what a worker takes instead. Of unlike machines the one with the fewest cores for a worker
    says how many each gets: rows depend on the number of threads by rounding.

    Raises InputError where not one worker fits.
    """
    if gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    if gpus > 1 and gpus != int(gpus):
        raise InputError(f"--worker-gpus {gpus:g}: expected a part of one GPU, such as 0.25, or whole ones.")
    rooms = [_room(node, gpus, cpus) for node in nodes]
    used = [(node, room) for node, room in zip(nodes, rooms, strict=True) if room]
    if not used:
        wanted = f"{gpus:g} GPUs and {cpus or 1} cores" if gpus else f"{cpus or 1} cores"
        have = ", ".join(f"{n.name} {n.cpus:g} cores, {n.gpus:g} GPUs" for n in nodes) or "no machine"
        raise InputError(
            f"--cluster: no worker fits: each takes {wanted}, and there are: {have}. Give smaller --worker-gpus or "
            "--worker-cpus, or wait until the cluster has such machines."
        )
    each = cpus or min(max(1, int(node.cpus // room)) for node, room in used)
    return Share(sum(room for _, room in used), each, gpus)


def share_machine(workers: int, have: int, threads: int, gpus: float | None = None, cpus: int | None = None) -> Share:
    """Exactly so many workers on one machine with `have` GPUs and so many `threads` of PyTorch: its GPUs and cores in
    even parts unless said otherwise. Raises InputError where its GPUs do not do."""
    each = cpus or max(1, threads // workers)
    if gpus is None:
        gpus = 1 / -(-workers // have) if have else 0.0  # no worker lies across two GPUs
    machine = Node("this machine", each * workers, have)  # cores are counted so that all fit: they share the real ones
    if gpus and (gpus * workers > have + ROUNDING or place_workers([machine], gpus, each).workers < workers):
        raise InputError(
            f"--cluster local:{workers} --worker-gpus {gpus:g}: takes {gpus * workers:g} GPUs, and PyTorch sees {have} "
            "here. Take fewer workers, or less for each: a worker has whole GPUs, or a part of one."
        )
    return Share(workers, each, gpus)


def _room(node: Node, gpus: float, cpus: int | None) -> int:
    """How many workers a machine takes."""
    by_cpus = int(node.cpus // (cpus or 1))
    if gpus == 0:
        return by_cpus if cpus else min(1, by_cpus)
    by_gpus = int(node.gpus + ROUNDING) * int(1 / gpus + ROUNDING) if gpus < 1 else int(node.gpus // gpus)
    return min(by_gpus, by_cpus)
