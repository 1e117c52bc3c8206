"""What a user may write in an options file, and what is said when it is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from featcache.errors import OptionsError
from featcache.options.augmentation_options import AUGMENTATIONS
from featcache.options.cache_folder import cache_url
from featcache.options.json_schema import options_schema
from featcache.options.loading import config_files, load_base_config, load_options, parse_options
from featcache.options.run_options import Options

# Verbatim from the design: the file that must load unchanged.
DESIGN_EXAMPLE = """\
{"experiment_name": "resnet152_baseline_v1",
 "model": {"backbone": "resnet152", "input_size": 224, "classifier_dims": [2048, 1024, 4],
           "dropout": 0.2, "pretrained": true},
 "data": {"path": "/scratch/user/data/final_split_dataset", "batch_size": 32,
          "augmentations": ["horizontal_flip", "random_crop"]},
 "training": {"epochs": 50, "learning_rate": 0.0001, "optimizer": "adamw", "seed": 42,
              "unfreeze_schedule": null}}
"""

MINIMAL: dict[str, Any] = {"experiment_name": "run", "model": {"backbone": "resnet18"}, "data": {"path": "images"}}


def with_values(**sections: Any) -> dict[str, Any]:
    """The smallest options, with `sections` merged in."""
    document = copy.deepcopy(MINIMAL)
    for key, value in sections.items():
        if isinstance(value, dict):
            document.setdefault(key, {}).update(value)
        else:
            document[key] = value
    return document


def options(**sections: Any) -> Options:
    return parse_options(with_values(**sections))


def fault(**sections: Any) -> str:
    """The message that `sections` are refused with."""
    with pytest.raises(OptionsError) as refused:
        parse_options(with_values(**sections), "my.json")
    message = str(refused.value)
    assert message.startswith("my.json: ")
    return message


def save(folder: Path, text: str | bytes, name: str = "options.json") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def load_fault(file: Path, *overrides: str) -> str:
    with pytest.raises(OptionsError) as refused:
        load_options(file, overrides)
    return str(refused.value)


# --- what is accepted


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    loaded = load_options(save(tmp_path, DESIGN_EXAMPLE))
    assert loaded.experiment_name == "resnet152_baseline_v1"
    assert (loaded.model.backbone, loaded.model.input_size, loaded.model.pretrained) == ("resnet152", 224, True)
    assert loaded.model.classifier_dims == (2048, 1024, 4)
    assert loaded.data.path == "/scratch/user/data/final_split_dataset"
    assert [a.name for a in loaded.data.augmentations] == ["horizontal_flip", "random_crop"]
    assert (loaded.training.epochs, loaded.training.learning_rate, loaded.training.seed) == (50, 1e-4, 42)
    assert loaded.training.unfreeze_schedule is None


def test_defaults() -> None:
    assert parse_options(MINIMAL).as_dict() == {
        "experiment_name": "run",
        "model": {
            "backbone": "resnet18",
            "source": "auto",
            "input_size": None,
            "classifier_dims": ["auto", 1024, "auto"],
            "dropout": 0.2,
            "pretrained": True,
            "weights": None,
            "weights_seed": 0,
        },
        "data": {
            "path": "images",
            "batch_size": 32,
            "augmentations": [],
            "views": None,
            "workers": None,
            "decoders": "threads",
            "decode_timeout_s": 60.0,
            "max_bad_fraction": 0.01,
            "depth": "auto",
            "truncated": "read",
            "exclude": None,
            "val_fraction": 0.15,
            "test_fraction": 0.15,
            "folds": None,
            "groups": None,
            "root": None,
            "columns": None,
            "classes": None,
            "limit": None,
        },
        "training": {
            "epochs": 50,
            "learning_rate": 1e-4,
            "optimizer": "adamw",
            "weight_decay": 0.01,
            "momentum": 0.9,
            "scheduler": "none",
            "warmup_epochs": 0,
            "label_smoothing": 0.0,
            "class_weights": None,
            "balanced_draws": False,
            "precision": "float32",
            "patience": None,
            "selection_metric": "val_top1",
            "seed": 42,
            "seeds": 1,
            "unfreeze_schedule": None,
            "lr_decay_per_block": 1.0,
            "clip_norm": None,
            "accumulate": 1,
            "mixup": 0.0,
            "cutmix": 0.0,
            "ema_decay": None,
            "swa_from": None,
            "channels_last": True,
            "compile": False,
            "gradient_checkpointing": False,
            "adapter": None,
            "distillation": None,
            "frozen_batch_norms": False,
            "l2_to_start": 0.0,
            "kept_of_folds": "retrained",
        },
        "cache": {
            "dir": "cache",
            "shard_rows": None,
            "max_copies_gb": 64.0,
            "dtype": "auto",
            "batch_size": 32,
            "compile": False,
            "max_decoded_gb": 16.0,
            "max_features_gb": 8.0,
            "max_trunk_gb": 32.0,
        },
        "head": {"normalise": "none"},
        "profile": {"iterations": 100, "warmup": 10, "batch_sizes": [1], "precisions": []},
    }


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    file = save(tmp_path, b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode())  # as Windows editors save
    assert load_options(file) == parse_options(MINIMAL)


def test_the_schema_key_of_editors_is_accepted() -> None:
    assert options(**{"$schema": "./options.schema.json"}) == parse_options(MINIMAL)


def test_whole_numbers_serve_where_fractions_are_asked() -> None:
    assert options(training={"learning_rate": 1, "weight_decay": 0}).training.learning_rate == 1.0


@pytest.mark.parametrize("pretrained", [True, False, "if-available"])
def test_pretrained(pretrained: bool | str) -> None:
    assert options(model={"pretrained": pretrained}).model.pretrained == pretrained


def test_seeds_as_a_count() -> None:
    assert options(training={"seed": 7, "seeds": 3}).training.seed_list == (7, 8, 9)


def test_seeds_as_a_list() -> None:
    assert options(training={"seed": 7, "seeds": [5, 0, 11]}).training.seed_list == (5, 0, 11)


def test_augmentations_as_names_and_objects() -> None:
    flip, rotation, jitter = options(
        data={"augmentations": ["horizontal_flip", {"name": "rotation", "degrees": 30}, {"name": "color_jitter"}]}
    ).data.augmentations
    assert flip.model_dump() == {"name": "horizontal_flip", "p": 0.5}
    assert rotation.model_dump() == {"name": "rotation", "degrees": 30.0}
    assert jitter.model_dump() == {
        "name": "color_jitter",
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.05,
    }


@pytest.mark.parametrize(
    "augmentation",
    [
        {"name": "horizontal_flip", "p": 1.0},
        {"name": "random_crop", "padding": 0.25},
        {"name": "random_crop", "padding": None},
        {"name": "random_resized_crop", "scale": [0.5, 0.9], "ratio": [1.0, 1.0]},
        {"name": "rotation", "degrees": 5.0},
        {"name": "color_jitter", "brightness": 0.0, "contrast": 0.1, "saturation": 0.3, "hue": 0.5},
        {"name": "random_erasing", "p": 1.0, "scale": [0.1, 0.1]},
    ],
)
def test_each_value_of_each_augmentation_can_be_written(augmentation: dict[str, Any]) -> None:
    (read,) = options(data={"augmentations": [augmentation]}).as_dict()["data"]["augmentations"]
    assert read == augmentation


def test_view_count_defaults_to_four_with_augmentations_and_one_without() -> None:
    assert options().data.view_count == 1
    assert options(data={"augmentations": ["rotation"]}).data.view_count == 4
    assert options(data={"augmentations": ["rotation"], "views": 9}).data.view_count == 9
    assert options(data={"views": 1}).data.view_count == 1


@pytest.mark.parametrize("unfreeze", ["last_block", "all", 0.5])
def test_unfreeze_schedule(unfreeze: str | float) -> None:
    steps = options(training={"unfreeze_schedule": [{"epoch": 20, "unfreeze": unfreeze}]}).training.unfreeze_schedule
    assert steps is not None
    assert (steps[0].epoch, steps[0].unfreeze, steps[0].lr_scale) == (20, unfreeze, 1.0)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"input_size": 64, "classifier_dims": [512, 4], "weights": "w.pth", "source": "timm"}},
        {"model": {"pretrained": "if-available"}, "cache": {"dir": "/else where", "dtype": "float16"}},
        {"data": {"augmentations": ["horizontal_flip", "random_crop", "rotation", "color_jitter"], "views": 3}},
        {"data": {"augmentations": ["random_resized_crop"]}},
        {"data": {"augmentations": ["random_erasing"]}},
        {"training": {"seeds": [3, 1], "learning_rate": 1e-300, "patience": 2}},
        {"training": {"unfreeze_schedule": [{"epoch": 0, "unfreeze": 0.25}, {"epoch": 9, "unfreeze": "all"}]}},
    ],
)
def test_as_dict_parses_back_to_the_same(sections: dict[str, Any]) -> None:
    # A run's options.json is written this way and read again.
    before = options(**sections)
    assert parse_options(json.loads(json.dumps(before.as_dict()))) == before


# --- unknown keys


@pytest.mark.parametrize(
    ("sections", "key", "nearest"),
    [
        ({"modle": {}}, "modle", "model"),
        ({"trainig": {"epochs": 3}}, "trainig", "training"),
        ({"training": {"learning_rat": 1e-3}}, "training.learning_rat", "training.learning_rate"),
        ({"data": {"augmentation": []}}, "data.augmentation", "data.augmentations"),
        ({"model": {"droput": 0.1}}, "model.droput", "model.dropout"),
        ({"cache": {"dri": "x"}}, "cache.dri", "cache.dir"),
        ({"data": {"batch_siz": 8}}, "data.batch_siz", "data.batch_size"),  # three sections have one
        ({"profile": {"iteration": 5}}, "profile.iteration", "profile.iterations"),
        # In the wrong section, or outside any.
        ({"model": {"learning_rate": 1e-3}}, "model.learning_rate", "training.learning_rate"),
        ({"data": {"epochs": 3}}, "data.epochs", "training.epochs"),
        ({"dropout": 0.1}, "dropout", "model.dropout"),
        ({"training": {"droput": 0.1}}, "training.droput", "model.dropout"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(sections: dict[str, Any], key: str, nearest: str) -> None:
    assert f"unknown key '{key}' (did you mean '{nearest}'?)" in fault(**sections)


@pytest.mark.parametrize(
    ("sections", "key", "nearest"),
    [
        (
            {"data": {"augmentations": ["random_crop", {"name": "rotation", "degree": 3}]}},
            "data.augmentations.1.degree",
            "degrees",
        ),
        (
            {"data": {"augmentations": [{"name": "color_jitter", "brightnes": 0.1}]}},
            "data.augmentations.0.brightnes",
            "brightness",
        ),
        # A key that another augmentation has.
        (
            {"data": {"augmentations": [{"name": "horizontal_flip", "degrees": 3}]}},
            "data.augmentations.0.degrees",
            "p",
        ),
        (
            {"training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": "all", "lr_scal": 2}]}},
            "training.unfreeze_schedule.0.lr_scal",
            "lr_scale",
        ),
    ],
)
def test_an_unknown_key_inside_a_list_is_named_with_what_fits_there(
    sections: dict[str, Any], key: str, nearest: str
) -> None:
    message = fault(**sections)
    assert f"unknown key '{key}'" in message
    assert nearest in re.findall(r"\w+", message.partition(f"'{key}'")[2])


def test_a_key_like_no_other_shows_what_is_known_there() -> None:
    message = fault(cache={"zzzz": 1})
    assert "unknown key 'cache.zzzz'" in message
    assert all(key in message for key in ("dir", "dtype", "batch_size"))


def test_every_augmentation_is_known_by_its_name_and_in_the_schema() -> None:
    names = [kind.model_fields["name"].default for kind in AUGMENTATIONS]
    for name in names:
        (bare,) = options(data={"augmentations": [name]}).data.augmentations
        (whole,) = options(data={"augmentations": [{"name": name}]}).data.augmentations
        assert bare == whole
        assert type(bare) in AUGMENTATIONS
    schema = options_schema()
    items = schema["$defs"]["DataOptions"]["properties"]["augmentations"]["items"]
    assert next(one["enum"] for one in items["anyOf"] if "enum" in one) == names
    assert {kind.__name__ for kind in AUGMENTATIONS} <= set(schema["$defs"])


def test_a_misspelt_augmentation_shows_the_names() -> None:
    message = fault(data={"augmentations": ["rotation", "horizontal_flp"]})
    assert "data.augmentations.1" in message
    assert "'horizontal_flip'" in message


# --- wrong values


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("balancd", "training.class_weights: input should be 'balanced' or an object of numbers"),
        ([1, 2], "training.class_weights: input should be 'balanced' or an object of numbers"),
        ({"name": 0, "b": 1}, "training.class_weights.name: input should be greater than or equal to 0.000001, got 0"),
        ({"b": 1e7}, "training.class_weights.b: input should be less than or equal to 1000000, got 10000000.0"),
        ({"b": "2"}, "training.class_weights.b: input should be a valid number"),
        ({}, "training.class_weights: dictionary should have at least 1 item"),
    ],
)
def test_wrong_class_weights_are_named_by_class(value: Any, said: str) -> None:
    assert said in fault(training={"class_weights": value})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "backbone", ""),
        ("model", "backbone", 18),
        ("model", "input_size", 4),
        ("model", "input_size", "224"),
        ("model", "input_size", 224.5),
        ("model", "classifier_dims", "auto"),
        ("model", "classifier_dims", ["auto"]),
        ("model", "classifier_dims", []),
        ("model", "dropout", 1.0),
        ("model", "dropout", -0.1),
        ("model", "dropout", "0.2"),
        ("model", "pretrained", "yes"),
        ("model", "pretrained", 1),
        ("model", "source", "keras"),
        ("data", "path", None),
        ("data", "path", ""),
        ("data", "batch_size", 0),
        ("data", "batch_size", True),
        ("data", "views", 0),
        ("data", "workers", 0),
        ("data", "max_bad_fraction", 1.5),
        ("data", "val_fraction", 0),
        ("data", "val_fraction", 1),
        ("data", "augmentations", "rotation"),
        ("training", "epochs", 0),
        ("training", "epochs", True),
        ("training", "epochs", "5"),
        ("training", "epochs", 5.5),
        ("training", "epochs", None),
        ("training", "learning_rate", 0),
        ("training", "learning_rate", -1e-4),
        ("training", "learning_rate", "1e-4"),
        ("training", "learning_rate", False),
        ("training", "optimizer", "AdamW"),
        ("training", "weight_decay", -1),
        ("training", "label_smoothing", 1.0),
        ("training", "patience", 0),
        ("training", "seed", -1),
        ("training", "seed", 2**31),
        ("training", "seeds", 0),
        ("training", "seeds", "3"),
        ("training", "seeds", []),
        ("training", "seeds", True),
        ("training", "unfreeze_schedule", []),
        ("cache", "dtype", "float64"),
        ("cache", "dir", ""),
        ("profile", "iterations", 0),
        ("profile", "warmup", -1),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_shown(section: str, key: str, value: Any) -> None:
    message = fault(**{section: {key: value}})
    assert f"{section}.{key}: " in message
    assert f"got {json.dumps(value)}" in message


@pytest.mark.parametrize("value", [3, None, [], "resnet18"])
def test_a_section_that_is_no_object(value: Any) -> None:
    assert "model: " in fault(model=value)


def test_what_must_be_given() -> None:
    with pytest.raises(OptionsError) as refused:
        parse_options({"model": {}})
    message = str(refused.value)
    for key in ("experiment_name", "model.backbone", "data"):
        assert f"{key} is missing" in message


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"data": {"augmentations": ["random_crop", "random_resized_crop"]}}, "keep one of the two"),
        ({"data": {"augmentations": ["rotation", {"name": "rotation", "degrees": 3}]}}, "names one twice"),
        ({"data": {"views": 2}}, "data.augmentations is empty"),
        ({"data": {"val_fraction": 0.5, "test_fraction": 0.5}}, "leave nothing to train on"),
        ({"model": {"classifier_dims": ["auto", "auto", 4]}}, "only the first and the last"),
        ({"model": {"pretrained": False, "weights": "w.pth"}}, "drop one of the two"),
        ({"training": {"seeds": [1, 2, 1]}}, "names one twice"),
        ({"training": {"unfreeze_schedule": [{"epoch": 3, "unfreeze": "all"}] * 2}}, "is out of order"),
        ({"training": {"unfreeze_schedule": [{"epoch": 50, "unfreeze": "all"}]}}, "epoch 50, past the end"),
        ({"training": {"unfreeze_schedule": [{"epoch": 9, "unfreeze": "all"}], "swa_from": 8}}, "an epoch from 9"),
        (
            {"training": {"unfreeze_schedule": [{"epoch": 9, "unfreeze": 1}], "swa_from": 9, "ema_decay": 0.9}},
            "two averages",
        ),
        ({"training": {"mixup": 0.2}}, "training.mixup is of end-to-end training"),
        ({"training": {"distillation": {"teacher": "t"}}, "data": {"folds": 3}}, "Set data.folds to null"),
        (
            {"training": {"kept_of_folds": "measured", "unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]}},
            "that takes 3 folds or more",
        ),
        (
            {"training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]}, "model": {"backbone": "a+b"}},
            "end-to-end training is of one network",
        ),
        ({"data": {"augmentations": [{"name": "rotation", "degrees": 181}]}}, "data.augmentations.0.degrees"),
        ({"data": {"augmentations": [{"degrees": 10}]}}, "data.augmentations.0"),
        ({"data": {"augmentations": [3]}}, "data.augmentations.0"),
        ({"model": {"classifier_dims": [512, 0, 4]}}, "model.classifier_dims.1"),
        ({"training": {"seeds": [1, -1]}}, "training.seeds.1"),
        (
            {"training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": 1.5}]}},
            "training.unfreeze_schedule.0.unfreeze",
        ),
    ],
)
def test_values_that_do_not_go_together(sections: dict[str, Any], words: str) -> None:
    assert words in fault(**sections)


def test_a_count_of_seeds_may_not_leave_the_range_of_a_seed() -> None:
    assert "seed" in fault(training={"seed": 2**31 - 1, "seeds": 2})  # as the list [2147483647, 2147483648] may not


def test_all_faults_are_shown_at_once() -> None:
    message = fault(
        model={"dropout": 2, "weight": "w.pth"},
        data={"views": 3},
        training={"epochs": 0, "optimzer": "sgd"},
        bogus=1,
    )
    for part in (
        "model.dropout",
        "model.weights",
        "data.views",
        "training.epochs",
        "training.optimizer",
        "'bogus'",
    ):
        assert part in message


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/absolute", "a\\b", ".hidden", "line\nbreak", "tab\t", "nul\0", "C:", "x" * 121],
)
def test_a_name_that_would_leave_the_results_folder(name: str) -> None:
    assert "experiment_name" in fault(experiment_name=name)


@pytest.mark.parametrize("name", ["a", "with space", "v1.2", "resnet18-[a]", "größe", "x" * 120])
def test_a_name_that_is_a_plain_folder(name: str) -> None:
    assert options(experiment_name=name).experiment_name == name


# --- files


def test_a_missing_file(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.json'}: there is no such file" in load_fault(tmp_path / "none.json")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert str(tmp_path) in load_fault(tmp_path)


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    file = save(tmp_path, '{\n  "experiment_name": "x",\n  "model": {"backbone" "resnet18"}\n}\n')
    message = load_fault(file)
    assert message.startswith(f"{file}: not valid JSON")
    assert "line 3" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "list"),
        (b"3", "int"),
        (b"null", "NoneType"),
        (b"\xff\xfe{\x00}\x00", "cannot be read"),
        (b'{"training": {"learning_rate": NaN}}', "NaN"),
        (b'{"training": {"learning_rate": -Infinity}}', "-Infinity"),
        (b'{"training": {"epochs": 3, "seed": 1, "epochs": 4}}', "'epochs' stands twice"),
    ],
)
def test_a_file_that_is_no_options_object(tmp_path: Path, text: bytes, words: str) -> None:
    file = save(tmp_path, text)
    message = load_fault(file)
    assert message.startswith(f"{file}: ")
    assert words in message


def test_a_number_too_large_for_a_float(tmp_path: Path) -> None:
    text = json.dumps(with_values(training={"learning_rate": 1.5})).replace("1.5", "1e999")  # json reads infinity
    load_fault(save(tmp_path, text))


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), object()])
def test_a_dict_with_values_that_json_lacks(rate: Any) -> None:
    fault(training={"learning_rate": rate})


# --- overrides


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.learning_rate=5e-5", "training", "learning_rate", 5e-5),
        ("training.epochs=7", "training", "epochs", 7),
        ("training.optimizer=sgd", "training", "optimizer", "sgd"),
        ("training.seeds=[1, 5]", "training", "seeds", [1, 5]),
        ("model.pretrained=false", "model", "pretrained", False),
        ("model.weights=IMAGENET1K_V1", "model", "weights", "IMAGENET1K_V1"),
        ("model.input_size=null", "model", "input_size", None),
        ('model.classifier_dims=["auto", 64, 4]', "model", "classifier_dims", ["auto", 64, 4]),
        ("data.path=/a/b c=d", "data", "path", "/a/b c=d"),
        ("cache.dir=elsewhere", "cache", "dir", "elsewhere"),  # a section that the file lacks
    ],
)
def test_an_override(tmp_path: Path, override: str, section: str, key: str, value: Any) -> None:
    file = save(tmp_path, DESIGN_EXAMPLE)
    expected = load_options(file).as_dict()
    expected[section][key] = value
    assert load_options(file, [override]).as_dict() == expected


def test_overrides_apply_in_order_and_leave_the_file(tmp_path: Path) -> None:
    file = save(tmp_path, DESIGN_EXAMPLE)
    loaded = load_options(file, ["experiment_name=first", "training.epochs=3", "experiment_name=second"])
    assert (loaded.experiment_name, loaded.training.epochs) == ("second", 3)
    assert file.read_text() == DESIGN_EXAMPLE


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.learning_rate", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("training.=3", "KEY=VALUE"),
        (".epochs=3", "KEY=VALUE"),
        ("experiment_name.epochs=3", "experiment_name is not a section"),
        ("training.epochs.x=3", "epochs is not a section"),
        ("training.learning_rat=3", "did you mean 'training.learning_rate'?"),
        ("trainig.epochs=3", "did you mean 'training'?"),
        ("training.learning_rate=fast", 'training.learning_rate: input should be a valid number, got "fast"'),
        ("training.learning_rate=NaN", "training.learning_rate"),
        ("training.epochs=0", "training.epochs"),
        ("training.epochs=", "training.epochs"),
        ("training=3", "training: "),
    ],
)
def test_a_bad_override(tmp_path: Path, override: str, words: str) -> None:
    assert words in load_fault(save(tmp_path, DESIGN_EXAMPLE), override)


# --- telling options apart


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"learning_rate": 2e-4}},
        {"training": {"seed": 43}},
        {"training": {"seeds": 2}},
        {"model": {"backbone": "resnet50"}},
        {"model": {"dropout": 0.3}},
        {"data": {"path": "others"}},
        {"data": {"augmentations": ["rotation"]}},
    ],
)
def test_short_differs_by_what_changes_the_result(sections: dict[str, Any]) -> None:
    assert options(**sections).short != options().short


@pytest.mark.parametrize(
    "sections",
    [
        {"experiment_name": "another"},
        {"cache": {"dir": "elsewhere"}},
        {"cache": {"dir": "s3://bucket/cache", "shard_rows": 1000, "max_copies_gb": 1}},
        {"data": {"workers": 3}},
        {"training": {"learning_rate": 1e-4}},  # the default, written out
    ],
)
def test_short_is_the_same_whatever_the_name_and_the_place(sections: dict[str, Any]) -> None:
    assert options(**sections).short == options().short


def test_a_cache_at_a_url_has_a_folder_on_this_machine_that_knows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remote = options(cache={"dir": "s3://bucket/some cache/"}).cache
    assert remote.folder.parent == tmp_path / "featcache" and cache_url(remote.folder) == "s3://bucket/some cache"
    assert remote.rows_a_part == 100_000
    assert options(cache={"dir": str(remote.folder)}).cache.folder == remote.folder  # as what is handed on names it
    assert options(cache={"dir": "file:///shared/a%20b"}).cache.folder == Path("/shared/a b")
    assert cache_url(options().cache.folder) is None and options().cache.rows_a_part is None
    with pytest.raises(OptionsError, match="no place for a cache"):
        options(cache={"dir": "ftp://host/cache"})


# --- finding options files


def test_config_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "deep/er/c.json", "options.schema.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    a, b, c = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "deep/er/c.json"
    assert config_files([tmp_path]) == [a, b, c]
    assert config_files([str(b), tmp_path]) == [b, a, c]  # each once, in the order asked
    assert config_files([b, b, tmp_path / "deep"]) == [b, c]


def test_config_files_of_a_folder_without_any(tmp_path: Path) -> None:
    (tmp_path / "options.schema.json").write_text("{}")
    with pytest.raises(OptionsError, match="holds no"):
        config_files([tmp_path])


def test_configs_that_are_not_in_this_folder_are_those_featcache_came_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = Path("configs").resolve()
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO", logger="featcache")
    assert config_files(["configs/phase1"]) == sorted((shipped / "phase1").glob("*.json"))
    assert load_options("configs/demo/resnet18.json") == load_options(shipped / "demo" / "resnet18.json")
    assert "configs/phase1: is not in this folder" in caplog.text  # no silent fallback
    own = tmp_path / "configs" / "phase1" / "own.json"
    own.parent.mkdir(parents=True)
    own.write_text(DESIGN_EXAMPLE)
    caplog.clear()
    assert config_files(["configs/phase1"]) == [Path("configs/phase1/own.json")] and not caplog.text
    for name in ("configs/phase3.json", "other/phase1/resnet18.json", "configs/../configs/demo/resnet18.json"):
        with pytest.raises(OptionsError, match="there is no such file"):
            load_options(name)


def test_base_config_can_be_changed_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the shipped one, wherever the user stands
    config = load_base_config()
    config["model"]["backbone"] = "swin_t"
    config["training"]["learning_rate"] = 3e-5
    changed = parse_options(config)
    assert (changed.model.backbone, changed.training.learning_rate) == ("swin_t", 3e-5)
    assert load_base_config()["model"]["backbone"] != "swin_t"  # each call gives a fresh dict


def test_base_config_of_the_current_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    save(tmp_path / "configs", DESIGN_EXAMPLE, "base.json")
    monkeypatch.chdir(tmp_path)
    assert load_base_config()["experiment_name"] == "resnet152_baseline_v1"


def test_base_config_by_path(tmp_path: Path) -> None:
    assert load_base_config(save(tmp_path, DESIGN_EXAMPLE)) == json.loads(DESIGN_EXAMPLE)
    with pytest.raises(OptionsError, match="there is no such file"):
        load_base_config(tmp_path / "none.json")


def test_a_folder_is_no_options_file(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r": is a folder\. Name one options file in it\."):
        load_options(tmp_path)


def test_what_came_later_tells_options_apart_only_where_it_is_not_its_default() -> None:
    before = options()
    assert options(data={"depth": "auto", "truncated": "read"}, head={"normalise": "none"}).short == before.short
    assert options(data={"classes": None, "limit": None}).short == before.short
    assert len({before.short, options(data={"limit": 5}).short, options(data={"classes": ["a", "b"]}).short}) == 3
    assert options(data={"limit": 5}) == options(data={"limit": {"train": 5}})
    assert options(head={"normalise": "l2"}).short != before.short
    assert len({o.short for o in (before, options(data={"depth": 12}), options(data={"truncated": "quarantine"}))}) == 3


@pytest.mark.parametrize("depth", [11, "12", "full", None])
def test_depths_that_are_none(depth: Any) -> None:
    assert "data.depth" in fault(data={"depth": depth})
