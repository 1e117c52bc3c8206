"""Options and a source in, where the backbone's weights are out: a local file, a hub's cache, an installed package, a
hub, or a seed."""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch

from featcache.backbones.checkpoint_path import names_file, parts_of, split_key
from featcache.backbones.source import Published, Source
from featcache.backbones.weight_packages import weight_package
from featcache.errors import OptionsError, WeightsError
from featcache.options import ModelOptions
from featcache.records import WeightsOrigin

log = logging.getLogger("featcache")

REACH_SECONDS = 10.0

_unreachable: dict[str, str] = {}  # host -> why; asked once in a process, since a dead network answers slowly


def resolve(options: ModelOptions, source: Source, name: str) -> tuple[WeightsOrigin, Published | None]:
    """Which weights `options` means, downloaded if need be. Raises WeightsError when they cannot be had.

    Published weights are looked for in the hub's cache, then in an installed weight package, then on the hub itself.
    """
    if options.weights is not None and names_file(options.weights):
        path, key = _local_file(options.weights, name)
        end = f":{key}" if key else ""
        return WeightsOrigin("file", path.name + end, str(path.absolute()) + end), None
    if source.name == "custom" and options.weights is None:
        return WeightsOrigin("custom", "custom"), None  # the function brings its own, whatever `pretrained` says
    if options.pretrained is False:
        return _random(options, fell_back=False), None
    try:
        published = _choose(options, source, name)
        package = None if cached_file(published) else _installed(source, name, published)
        if package is not None:
            return WeightsOrigin("package", f"{published.label} (package)", str(package)), published
        return WeightsOrigin("hub", published.label, str(fetch(name, source, published))), published
    except WeightsError as error:
        if options.pretrained != "if-available":
            raise
        log.debug("%s", error)
        return _random(options, fell_back=True), None


def describe(options: ModelOptions, source: Source, name: str) -> str:
    """Where the weights would come from, in words, without fetching any; raises WeightsError when that is settled."""
    if options.weights is not None and names_file(options.weights):
        path, key = _local_file(options.weights, name)
        return f"{path}:{key}" if key else str(path)
    if source.name == "custom" and options.weights is None:
        return "the function's own"
    if options.pretrained is False:
        return f"seeded random, seed {options.weights_seed}"
    published = _choose(options, source, name)
    place = place_at_hand(source, name, published)
    if published.path is not None and place:
        return place
    return f"{published.label}, {'at hand in ' + place if place else 'to be downloaded from ' + published.url}"


def place_at_hand(source: Source, name: str, published: Published) -> str:
    """Where on this machine published weights are, in words; "" where they are not."""
    if cached_file(published) is not None:
        return published.path or "the hub's cache"
    if _installed(source, name, published) is None:
        return ""
    package = weight_package(source.name, name, published.label)
    assert package is not None
    return f"the package {package.distribution}"


def _installed(source: Source, name: str, published: Published) -> Path | None:
    """The file of an installed weight package that holds the published weights."""
    package = weight_package(source.name, name, published.label)
    return package.installed_file() if package is not None else None


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


def _local_file(weights: str, name: str) -> tuple[Path, str | None]:
    path, key = split_key(weights)
    if not path.exists():
        raise WeightsError(
            f"model.weights: {path} does not exist. Expected a file, or a folder of shards, with weights of {name}."
        )
    parts_of(path)  # an index whose shards are not there is said at once
    return path, key


def _random(options: ModelOptions, *, fell_back: bool) -> WeightsOrigin:
    return WeightsOrigin("random", f"random({options.weights_seed})", fell_back=fell_back)


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


def fetch(name: str, source: Source, published: Published) -> Path:
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
    package = weight_package(source.name, name, published.label)
    if package is not None:
        remedy = f"`{package.install}` brings the same weights; or {remedy}"
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


def cached_repositories() -> list[str]:
    """The repositories that are in the Hugging Face hub's cache, whatever they hold."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--*--*")
    return sorted(folder.name.removeprefix("models--").replace("--", "/", 1) for folder in folders)


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
