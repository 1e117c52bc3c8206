"""Under which licence a run's weights stand, as far as anybody says."""

from __future__ import annotations

from dataclasses import dataclass

from featcache.backbones import names_file
from featcache.records import WeightsOrigin
from heads.export.library_recipe import own_network
from heads.export.opened_run import OpenedRun

UNKNOWN = "unknown"  # a licence of the model hub's list


@dataclass(frozen=True)
class Licence:
    """By the model hub's name, and in words."""

    name: str
    said: str


def licence_of(run: OpenedRun) -> Licence:
    """Of all parts together: where they differ it is nobody's, and each is said."""
    found = [_of_part(run, number) for number in range(len(run.parts))]
    names = {one.name for one in found}
    name = names.pop() if len(names) == 1 else UNKNOWN
    return Licence(name, " ".join(dict.fromkeys(one.said for one in found)))


def _of_part(run: OpenedRun, number: int) -> Licence:
    part, name, own = run.parts[number], run.model.names[number], run.model.network_of(number)
    source, label = part.info.identity.source, _label(run, part.info.origin)
    if label.startswith("random("):
        return Licence(UNKNOWN, f"The weights of {name} were not pretrained: no licence of others is on them.")
    given = own.options.model.weights
    if given is not None and names_file(given):
        return Licence(UNKNOWN, f"The weights of {name} come from a file ({label}), which says no licence.")
    if source == "timm":
        record = own_network(part).pretrained_cfg
        licence = dict(record).get("license")  # type: ignore[arg-type]  # timm's own attribute
        if licence:
            return Licence(str(licence), f"The weights of {name} ({label}) are under {licence}, as timm's record says.")
        return Licence(UNKNOWN, f"timm's record of {name} ({label}) names no licence of its weights.")
    if source == "torchvision":
        return Licence(
            UNKNOWN,
            f"torchvision names no licence of the weights of {name} ({label}): its code is under BSD-3-Clause, the "
            "weights were trained on ImageNet, whose terms are for research. Ask its maintainers before you sell them.",
        )
    return Licence(UNKNOWN, f"The weights of {name} come from {source}, which names no licence of them.")


def _label(run: OpenedRun, origin: WeightsOrigin) -> str:
    """What the published weights are called; of a fine-tuned network those that it began with."""
    return str(run.record.summary["weights"]) if run.model.tuned is not None else origin.label
