"""Options and a source in, a backbone's weights out: of a hub, a local file, or a seed."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from featcache.backbones.source import Published, Source
from featcache.errors import OptionsError, WeightsError
from featcache.options import ModelOptions
from featcache.records import WeightsOrigin

log = logging.getLogger("featcache")

FILE_ENDINGS = (".pth", ".pt", ".bin", ".safetensors")
CONTAINERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
)  # of training checkpoints
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's
REACH_SECONDS = 10.0

_unreachable: dict[str, str] = {}  # host -> why; asked once in a process, since a dead network answers slowly


def resolve(options: ModelOptions, source: Source, name: str) -> tuple[WeightsOrigin, Published | None]:
    """Which weights `options` means, downloaded if need be. Raises WeightsError when they cannot be had."""
    if options.weights is not None and _is_file(options.weights):
        path = _local_file(options.weights, name)
        return WeightsOrigin("file", path.name, str(path.resolve())), None
    if source.name == "custom" and options.weights is None:
        return WeightsOrigin("custom", "custom"), None  # the function brings its own, whatever `pretrained` says
    if options.pretrained is False:
        return _random(options, fell_back=False), None
    try:
        published = _choose(options, source, name)
        return WeightsOrigin("hub", published.label, str(fetch(name, published))), published
    except WeightsError as error:
        if options.pretrained != "if-available":
            raise
        log.debug("%s", error)
        return _random(options, fell_back=True), None


def describe(options: ModelOptions, source: Source, name: str) -> str:
    """Where the weights would come from, in words, without fetching any; raises WeightsError when that is settled."""
    if options.weights is not None and _is_file(options.weights):
        return str(_local_file(options.weights, name))
    if source.name == "custom" and options.weights is None:
        return "the function's own"
    if options.pretrained is False:
        return f"seeded random, seed {options.weights_seed}"
    published = _choose(options, source, name)
    if published.path is not None:
        return published.path
    cached = cached_file(published)
    return f"{published.label}, {'at hand' if cached else 'to be downloaded from ' + published.url}"


def _choose(options: ModelOptions, source: Source, name: str) -> Published:
    """The published weights that `options` means."""
    published = source.published(name)
    if options.weights is not None:
        wanted = [p for p in published if p.label == options.weights]
        if not wanted:
            known = ", ".join(p.label for p in published) or "none"
            # No fallback for a name that is wrong: that is an error in the options, whatever "pretrained" says.
            raise OptionsError(
                f"model.weights: {options.weights!r} is neither a file (*.pth, *.safetensors) nor weights published "
                f"for {name} ({known})."
            )
        published = wanted
    if not published:
        raise WeightsError(
            f"{name}: {source.name} publishes no pretrained weights for it. Give a file as model.weights, or set "
            "model.pretrained to false."
        )
    return published[0]


def _local_file(weights: str, name: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"model.weights: {path} does not exist. Expected a .pth or .safetensors state dict of {name}."
        )
    return path


def _random(options: ModelOptions, *, fell_back: bool) -> WeightsOrigin:
    return WeightsOrigin("random", f"random({options.weights_seed})", fell_back=fell_back)


def _is_file(weights: str) -> bool:
    return weights.endswith(FILE_ENDINGS) or os.sep in weights or Path(weights).is_file()


def cached_file(published: Published) -> Path | None:
    """The file on this machine or in the hub's cache, if it is there."""
    if published.path is not None:
        return Path(published.path)
    if published.repository is None:
        file = _torch_hub_file(published.url)
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    for name in published.files:
        found = try_to_load_from_cache(published.repository, name, revision=published.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch(name: str, published: Published) -> Path:
    """The weights' file, from the hub's cache or else downloaded into it; raises WeightsError with the remedy."""
    reason = get_file(published)
    if isinstance(reason, Path):
        return reason
    if published.repository is None:
        file = _torch_hub_file(published.url)
        missing, remedy = file.name, f"download {published.url} to {file}"
    else:
        missing = f"{published.files[0]} of {published.repository}"
        place = _hub_folder(published.repository)
        remedy = (
            f"`hf download {published.repository}` where there is a network fills {place}, which can be copied here"
        )
    raise WeightsError(
        f"{name}: the pretrained weights {published.label} are not on this machine and cannot be downloaded "
        f"({reason}). The missing file is {missing}: {remedy}. Or name a local copy as model.weights, or set "
        'model.pretrained to "if-available" for seeded random weights.'
    )


def get_file(published: Published) -> Path | str:
    """The file, from the hub's cache or else downloaded into it; or why it cannot be had."""
    cached = cached_file(published)
    if cached is not None:
        return cached
    reason = _why_unreachable(published.url)
    if reason is not None:
        return reason
    try:
        return _download(published)
    except Exception as error:  # each hub raises a tree of its own; what matters is that the file is not here
        return f"{type(error).__name__}: {error}"


def _hub_folder(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _torch_hub_file(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def _why_unreachable(url: str) -> str | None:
    """Why the host of `url` cannot be reached, if so; asks it once, quickly, before the hubs' long retries."""
    if "huggingface.co" in url:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            return "HF_HUB_OFFLINE is set"
        url = url.replace("https://huggingface.co", os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host = urlparse(url).netloc
    if host not in _unreachable:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=REACH_SECONDS).close()
        except urllib.error.HTTPError:
            return None  # it answered: the download will say what is wrong
        except (OSError, ValueError) as error:
            _unreachable[host] = f"{host}: {getattr(error, 'reason', error)}"
    return _unreachable.get(host)


def _download(published: Published) -> Path:
    if published.repository is None:
        torch.hub.load_state_dict_from_url(
            published.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
        return _torch_hub_file(published.url)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in published.files[:-1]:
        try:
            return Path(hf_hub_download(published.repository, name, revision=published.revision))
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(published.repository, published.files[-1], revision=published.revision))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in a .pth or .safetensors file, by name, unwrapped from a checkpoint; raises WeightsError."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"model.weights: {path} cannot be read ({reason}). Expected a state dict saved by torch.save, loadable "
            "with weights_only=True, or a .safetensors file."
        ) from None
    for key in CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(
            f"model.weights: {path} holds no state dict (names to tensors) but a {type(loaded).__name__}."
        )
    return {_plain(str(k)): v for k, v in loaded.items()}


def _plain(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.removeprefix(wrapper)
    # The names of DenseNet's layers in the hub's files ("norm.1"), which PyTorch has not allowed since 0.4.
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)


def load_file_into(network: nn.Module, classifier_keys: set[str], path: Path) -> None:
    """Load the state dict in `path` into a network whose classifier is off.

    `classifier_keys` are the names that the whole network had and this one lacks: they may be in the file or not.
    Raises WeightsError that names the first tensors that differ.
    """
    state = read_state_dict(path)
    own = network.state_dict()
    wrong = [f"{k} is missing" for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong += [
        f"{k} has the shape {list(state[k].shape)}, expected {list(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    # By the classifier's first name part too: a fine-tuned classifier may have other layers than the original.
    heads = {k.partition(".")[0] for k in classifier_keys} - {k.partition(".")[0] for k in own}
    wrong += [
        f"{k} is not in the network"
        for k in state
        if k not in own and k not in classifier_keys and k.partition(".")[0] not in heads
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise WeightsError(
            f"model.weights: {path} does not fit the network: {'; '.join(wrong[:3])}{more}. "
            "Is it another architecture's?"
        )
    # Into the network's own dict, which carries the layers' versions that some of them ask for.
    for key in own:
        own[key] = state.get(key, own[key])
    network.load_state_dict(own)


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """`module` holds `weights`, by name; raises ValueError where they are not those of such a module.

    Unlike `load_state_dict` it asks for no record of versions, which a plain dict does not have.
    """
    here = module.state_dict()
    wrong = sorted(here.keys() ^ weights.keys())
    wrong = wrong or sorted(n for n, t in here.items() if t.shape != weights[n].shape)
    if wrong:
        raise ValueError(f"{wrong[0]} is missing, too many or of another shape")
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(weights[name])


def tensor_digest(module: nn.Module) -> str:
    """The sha256 (hex) of a module's parameters and buffers, by name, type and shape."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue  # no forward pass in evaluation reads it
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()
