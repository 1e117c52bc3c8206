"""All options of one run: the sections under the name of the experiment."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from featcache.errors import OptionsError
from featcache.options.cache_options import CacheOptions
from featcache.options.data_options import DataOptions
from featcache.options.head_options import HeadOptions
from featcache.options.model_options import ModelOptions
from featcache.options.option_types import Section, plain_name
from featcache.options.profile_options import ProfileOptions
from featcache.options.training_options import LATER_TRAINING_OPTIONS, TrainingOptions
from featcache.records import digest

MAX_NAME = 120  # characters of an experiment's name
# Of results/ itself.
OWN_NAMES = {"leaderboard.csv", "report.html", "report.md", "sweeps", "recipes", "audit", "figures", "curves"}


class Options(Section):
    """One run of featcache."""

    experiment_name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    """Name of the folder under results/."""
    model: ModelOptions
    data: DataOptions
    head: HeadOptions = HeadOptions()
    training: TrainingOptions = TrainingOptions()
    cache: CacheOptions = CacheOptions()
    profile: ProfileOptions = ProfileOptions()

    @model_validator(mode="after")
    def _name_stays_in_results(self) -> Options:
        if self.experiment_name in OWN_NAMES:
            raise ValueError(f"experiment_name is {self.experiment_name!r}, which results/ needs for itself")
        plain_name(self.experiment_name, "experiment_name")
        return self

    @model_validator(mode="after")
    def _end_to_end_can_be_followed(self) -> Options:
        if self.training.unfreeze_schedule is not None and len(self.model.names) > 1:
            raise ValueError(
                f"training.unfreeze_schedule is given and model.backbone names {len(self.model.names)}: end-to-end "
                "training is of one network"
            )
        kept, needed = self.training.kept_of_folds, 3 if self.training.kept_of_folds == "measured" else 2
        if kept != "retrained" and (self.data.folds or 0) < needed:
            raise ValueError(
                f"training.kept_of_folds is {kept} and data.folds is {self.data.folds or 'null'}: that takes "
                f"{needed} folds or more. Set data.folds"
            )
        return self

    @model_validator(mode="after")
    def _lora_is_of_one_network(self) -> Options:
        adapter = self.training.adapter
        if adapter is not None and adapter.kind == "lora" and self.data.folds is not None:
            raise ValueError(
                "training.adapter of kind lora and data.folds are given: the thin matrices of networks that trained on "
                "different folds have no average. Choose another kind, or set data.folds to null"
            )
        return self

    @model_validator(mode="after")
    def _teacher_has_not_seen_val(self) -> Options:
        if self.training.distillation is not None and self.data.folds is not None:
            raise ValueError(
                "training.distillation and data.folds are given: the teacher trained on images that folds would judge "
                "by. Set data.folds to null"
            )
        return self

    @property
    def parts(self) -> tuple[Options, ...]:
        """The options of stage one for each backbone that is named."""
        return tuple(self.model_copy(update={"model": model}) for model in self.model.parts)

    def as_dict(self) -> dict[str, Any]:
        """The options as JSON values, every default filled in."""
        value: dict[str, Any] = self.model_dump(mode="json")
        return value

    @property
    def short(self) -> str:
        """Eight hex digits that tell options apart. Name, workers, time limits, the cache's place, parts and disk
        limits do not count, nor does what came later while it is at its default: finished runs keep theirs."""
        value = self.as_dict()
        for key in ("depth", "truncated", "groups", "root", "columns", "classes", "limit"):
            if value["data"][key] == DataOptions.model_fields[key].default:
                del value["data"][key]
        if self.data.columns is not None and self.data.columns.weight is None:
            del value["data"]["columns"]["weight"]
        for key in LATER_TRAINING_OPTIONS:
            if value["training"][key] == TrainingOptions.model_fields[key].default:
                del value["training"][key]
        if self.head == HeadOptions():
            del value["head"]
        for key in ("dir", "shard_rows", "max_copies_gb", "max_decoded_gb"):
            del value["cache"][key]
        del value["experiment_name"]
        del value["data"]["workers"], value["data"]["decoders"], value["data"]["decode_timeout_s"]
        return digest(value)[:8]


def require_frozen(options: Options) -> None:
    """Raise OptionsError for a schedule or a teacher: heads train on frozen backbones, and on labels."""
    if options.training.distillation is not None:
        raise OptionsError(
            "training.distillation: this trains heads on labels only. Set it to null, or use `featcache distill`."
        )
    if options.training.unfreeze_schedule is not None:
        raise OptionsError(
            "training.unfreeze_schedule: this trains heads on frozen backbones only. Set it to null, or use `featcache "
            "finetune`."
        )
