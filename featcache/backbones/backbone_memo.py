"""Options in, what is known of their backbone out, from a memo where it was built here before."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import PIL
import torch

from featcache import __version__
from featcache.atomic import write_text
from featcache.backbones.backbone import Backbone
from featcache.backbones.checkpoint_path import parts_of, split_key
from featcache.backbones.configured_network import is_configured, read_network
from featcache.backbones.factory import make_backbone, say_doubts
from featcache.backbones.libraries import LIBRARIES
from featcache.backbones.source import Source
from featcache.backbones.source_lookup import find_source
from featcache.backbones.weights import resolve
from featcache.options import Options
from featcache.records import BackboneInfo, Identity, WeightsOrigin, digest


def describe_backbone(options: Options, *, allow_custom: bool = False) -> tuple[BackboneInfo, Backbone | None]:
    """What is known of the backbone that `options` names, without building it when it was built here before.

    Returns the built backbone too when it had to be built. The memo is keyed by all that the build depends on: name,
    size, the weights file's path, size and time or the seed, what a config.json says, and the libraries' versions.
    """
    model = options.model
    source = find_source(model.backbone, model.source, allow_custom)
    origin, _ = resolve(model, source, model.backbone)
    memo = options.cache.folder / "memo" / "backbones.json"
    key = digest(_recipe(options, source, origin))
    known = _read_memo(memo)
    # Others' code may change without a version that is known here.
    if key in known and source.name in LIBRARIES:
        value = known[key]
        identity, recorded = Identity.from_dict(value["identity"]), value["origin"]
        origin = WeightsOrigin.from_dict({**recorded, "fell_back": origin.fell_back})
        say_doubts(identity, origin)
        return BackboneInfo(identity, value["features"], value["params"], origin), None
    backbone = make_backbone(model, options.training.precision, options.cache.dtype, allow_custom=allow_custom)
    info = backbone.info
    value = {
        "identity": info.identity.as_dict(),
        "features": info.features,
        "params": info.params,
        "origin": {n: v for n, v in asdict(info.origin).items() if n != "fell_back"},
    }
    write_text(memo, json.dumps({**_read_memo(memo), key: value}))
    return info, backbone


def _recipe(options: Options, source: Source, origin: WeightsOrigin) -> dict[str, Any]:
    import timm
    import torchvision

    files: tuple[Path, ...] = (Path(origin.location),) if origin.kind in {"hub", "package"} else ()
    if origin.kind == "file":
        files = parts_of(split_key(origin.location)[0])
    stats = [file.stat() for file in files]
    name = options.model.backbone
    return {
        **({"config": read_network(name).config_digest} if is_configured(name) else {}),
        "backbone": [name, source.name, options.model.input_size],
        "weights": [origin.kind, origin.location, [[s.st_size, s.st_mtime_ns] for s in stats]],
        "seed": options.model.weights_seed if origin.kind == "random" else None,
        "stored": [options.training.precision, options.cache.dtype],
        "versions": [__version__, torch.__version__, torchvision.__version__, timm.__version__, PIL.__version__],
        "identity": [*sorted(Identity.__dataclass_fields__), Identity.format_version],
        "origin": sorted(WeightsOrigin.__dataclass_fields__),
    }


def _read_memo(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
