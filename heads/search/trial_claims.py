"""Who trains what of a study that several machines share: a point is claimed before it is trained, once.

Claims lie beside the study, as trials of a study `<name>:claims` in the same storage, which creates trials one after
the other: of two claims of a point the earlier one holds. It holds as long as its owner lives, which says so regularly.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection

import optuna
from optuna.trial import TrialState, create_trial

BEAT = 10.0  # seconds between an owner's signs of life
DEAD = 120.0  # without one
POINT, OWNER, ALIVE = "featcache:point", "featcache:owner", "featcache:alive:"
ENDED = -1


def claims_study(name: str) -> str:
    """What the claims of a study are called."""
    return f"{name}:claims"


class TrialClaims:
    """The claims of all processes at one study, and this one's own; whoever makes it closes it."""

    def __init__(self, storage: str, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._study = optuna.create_study(storage=storage, study_name=claims_study(name), load_if_exists=True)
        self.owner, self._clock = uuid.uuid4().hex, clock
        self._seen: dict[str, tuple[int, float]] = {}  # by owner: its last sign of life, and when that was new here
        self._over = threading.Event()
        self._study.set_user_attr(ALIVE + self.owner, 0)
        self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)
        self._heart.start()

    def take(self, points: Collection[str]) -> set[str]:
        """Those of the points that are this process's to train from here on."""
        for point in points:
            claim = create_trial(state=TrialState.FAIL, user_attrs={POINT: point, OWNER: self.owner})
            self._study.add_trial(claim)  # never RUNNING, which samplers and others would wait for
        holders = self._holders()
        return {point for point in points if holders[point] == self.owner}

    def elsewhere(self) -> set[str]:
        """The points that others are training."""
        return {point for point, owner in self._holders().items() if owner != self.owner}

    def close(self) -> None:
        """Let go of all that is claimed: what was trained has been told."""
        self._over.set()
        self._heart.join()
        self._study.set_user_attr(ALIVE + self.owner, ENDED)

    def _holders(self) -> dict[str, str]:
        """By point: the owner of its first claim among those that live."""
        living = self._living()
        holders: dict[str, str] = {}
        for claim in self._study.get_trials(deepcopy=False):
            if claim.user_attrs[OWNER] in living:
                holders.setdefault(claim.user_attrs[POINT], claim.user_attrs[OWNER])
        return holders

    def _living(self) -> set[str]:
        """The owners who have given a sign of life lately, by this process's own clock."""
        now, living = self._clock(), {self.owner}
        for name, beat in self._study.user_attrs.items():
            owner = name.removeprefix(ALIVE)
            if owner == name or beat == ENDED:
                continue
            if owner not in self._seen or self._seen[owner][0] != beat:
                self._seen[owner] = beat, now
            if now - self._seen[owner][1] < DEAD:
                living.add(owner)
        return living

    def _beat(self) -> None:
        beats = 0
        while not self._over.wait(BEAT):
            beats += 1
            try:
                self._study.set_user_attr(ALIVE + self.owner, beats)
            except Exception:  # the database is out of reach for a moment; longer, and the work itself says so
                continue
