"""A teacher's answers kept in the cache: the next student, temperature or stage finds them there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featcache import __version__
from featcache.atomic import make_folder, save_tensors
from featcache.devices import device_name
from featcache.extraction import views_spec
from featcache.options import Options
from featcache.records import digest
from featcache.session import Session
from heads.distill.teacher import Teacher
from heads.distill.teacher_answers import Pool

log = logging.getLogger("featcache")

FOLDER = "teachers"  # below the cache


@dataclass(frozen=True)
class AnswersFile:
    """Where answers are kept that this teacher gives to these images and views; another teacher has another file."""

    path: Path

    @classmethod
    def of(cls, teacher: Teacher, pool: Pool, options: Options, session: Session) -> AnswersFile:
        """That of a pool, by a student's options."""
        asked = options.training.distillation
        assert asked is not None
        images = [[i.sha256, i.split, i.label, i.group] for i in pool.images]
        decides = [teacher.inputs, images, pool.views.tolist(), pool.only.tolist(), views_spec(options.data)]
        made_by = [asked.out_of_fold, device_name(session.device), __version__, str(torch.__version__)]
        return cls(options.cache.folder / FOLDER / f"{teacher.name[:40]}-{digest([decides, made_by])[:16]}.pth")

    def read(self) -> NDArray[np.float32] | None:
        """Logarithms `[R, C]`; None where they are not there, or damaged, which is said."""
        if not self.path.exists():
            return None
        try:
            logs: NDArray[np.float32] = torch.load(self.path, map_location="cpu", weights_only=True)["logs"].numpy()
        except Exception as error:  # a torn or foreign file fails in pickle, zip, or by its keys
            log.warning("%s is damaged (%s): the teacher answers anew", self.path, type(error).__name__)
            return None
        return logs

    def write(self, logs: NDArray[np.float32]) -> None:
        """Keep answers."""
        make_folder(self.path.parent)
        save_tensors(self.path, {"logs": torch.from_numpy(logs)})
