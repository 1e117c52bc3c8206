"""How `model.backbone` is typed: prefixes, spaces, several joined, paths; one spelling comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from featcache.errors import OptionsError
from featcache.options import ModelOptions, joined_names, load_options, parse_options

Config = Callable[..., dict[str, Any]]

SPELLINGS = {
    "timm/resnet18": ("resnet18", "timm"),
    "Timm/resnet18": ("resnet18", "timm"),
    "timm:resnet18": ("resnet18", "timm"),
    "torchvision/resnet18": ("resnet18", "torchvision"),
    "hf-hub:timm/resnet18": ("resnet18", "timm"),
    "hf_hub:timm/resnet18": ("resnet18", "timm"),
    "HF-hub:timm/resnet18/": ("resnet18", "timm"),
    "https://huggingface.co/timm/resnet18": ("resnet18", "timm"),
    # With a tag the plain name says whose it is: the options are those of the plain name, and so are its runs.
    "timm/resnet18.a1_in1k": ("resnet18.a1_in1k", "auto"),
    "hf_hub:timm/resnet18.a1_in1k": ("resnet18.a1_in1k", "auto"),
    "torchvision/resnet18.a1_in1k": ("resnet18.a1_in1k", "torchvision"),  # which has none: said when it is looked up
    " resnet18 ": ("resnet18", "auto"),
    "resnet18 + resnet50": ("resnet18+resnet50", "auto"),
    "timm/resnet18+timm/resnet50": ("resnet18+resnet50", "timm"),
    "timm/resnet18+timm/resnet50.a1_in1k": ("resnet18+resnet50.a1_in1k", "timm"),
    "timm/resnet18.a1_in1k+resnet18": ("resnet18.a1_in1k+resnet18", "auto"),
    # No source is right for both: the prefixes stay.
    "timm/resnet18 + torchvision/resnet18": ("timm/resnet18+torchvision/resnet18", "auto"),
    "timm:resnet18+resnet18": ("timm/resnet18+resnet18", "auto"),
    "torchvision/resnet18+resnet18.a1_in1k": ("torchvision/resnet18+resnet18.a1_in1k", "auto"),
    "timm/resnet18+pkg.nets:mine": ("timm/resnet18+pkg.nets:mine", "auto"),
    # What keeps its place.
    "hf_hub:org/model": ("hf-hub:org/model", "auto"),
    "hf-hub:org/model@v1": ("hf-hub:org/model@v1", "auto"),
    "hf-hub:timm/resnet18.a1_in1k@v1": ("hf-hub:timm/resnet18.a1_in1k@v1", "auto"),
    "local-dir:./nets/mine/": ("local-dir:nets/mine", "auto"),
    "local_dir:/nets/a+b": ("local-dir:/nets/a+b", "auto"),
    "local-dir:a+b + resnet18": ("local-dir:a+b + resnet18", "auto"),
    "local-dir:a + local-dir:b": ("local-dir:a + local-dir:b", "auto"),
    "pkg.nets:mine": ("pkg.nets:mine", "auto"),
}


@pytest.mark.parametrize("typed", SPELLINGS)
def test_a_name_has_one_spelling(config: Config, typed: str) -> None:
    plain, source = SPELLINGS[typed]
    model = parse_options(config(model={"backbone": typed})).model
    assert (model.backbone, model.source) == (plain, source)
    assert model == ModelOptions(**{**model.model_dump(), "classifier_dims": model.classifier_dims})  # and keeps it


@pytest.mark.parametrize("typed", ["timm/squeezenet1_1", "hf-hub:timm/squeezenet1_1", " timm/squeezenet1_1"])
def test_a_run_is_the_same_however_the_name_is_typed(config: Config, typed: str) -> None:
    plain = parse_options(config(model={"backbone": "squeezenet1_1", "source": "timm"}))
    options = parse_options(config(model={"backbone": typed}))
    assert options == plain and options.short == plain.short and options.as_dict() == plain.as_dict()


def test_parts_know_their_own_library() -> None:
    model = ModelOptions(backbone="timm/resnet18+torchvision/resnet18+resnet50+local-dir:x+y + vgg16")
    assert [(part.backbone, part.source) for part in model.parts] == [
        ("resnet18", "timm"),
        ("resnet18", "torchvision"),
        ("resnet50", "auto"),
        ("local-dir:x+y", "auto"),
        ("vgg16", "auto"),
    ]


def test_a_plus_in_a_path_joins_only_with_spaces() -> None:
    assert joined_names("local-dir:runs/lr+wd") == ("local-dir:runs/lr+wd",)
    assert joined_names("local-dir:a+b + local-dir:c+ d") == ("local-dir:a+b", "local-dir:c+ d")
    assert joined_names("a+b + c") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"backbone": "timm/resnet18", "source": "torchvision"}, "'timm/resnet18' and model.source is 'torchvision'"),
        ({"backbone": "torchvision/resnet18", "source": "timm"}, "drop one of the two"),
        ({"backbone": "resnet50+timm/resnet18", "source": "torchvision"}, "drop one of the two"),
        ({"backbone": "local-dir:x", "source": "torchvision"}, "which timm reads, .*drop model.source"),
        ({"backbone": "hf-hub:o/r", "source": "custom"}, "which timm reads, .*drop model.source"),
        ({"backbone": "hf-hub:"}, "expected hf-hub:ORGANISATION/REPOSITORY or local-dir:PATH"),
        ({"backbone": "local-dir:"}, "expected hf-hub:ORGANISATION/REPOSITORY or local-dir:PATH"),
        ({"backbone": "timm/"}, "expected different names"),
        ({"backbone": "resnet18.a1_in1k+timm/resnet18.a1_in1k"}, "expected different names"),
        ({"backbone": ["resnet18", "resnet50"]}, r"model\.backbone: input should be one name, or several joined by \+"),
    ],
)
def test_what_contradicts_itself_is_said(config: Config, model: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        parse_options(config(model=model))


def test_an_override_is_read_like_a_file(tmp_path: Any, config: Config) -> None:
    import json

    file = tmp_path / "run.json"
    file.write_text(json.dumps(config()))
    model = load_options(file, ["model.backbone=timm/resnet18"]).model
    assert (model.backbone, model.source) == ("resnet18", "timm")
