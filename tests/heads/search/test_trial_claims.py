"""Of several processes at one study each point is trained by one; those of an owner that is gone are free again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from heads.search.trial_claims import DEAD, TrialClaims


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def both(url: str, clock: Clock) -> Iterator[tuple[TrialClaims, TrialClaims]]:
    one, other = (TrialClaims(url, "s", clock) for _ in range(2))
    yield one, other
    one.close()
    other.close()


def test_the_first_claim_holds_until_its_owner_is_done(both: tuple[TrialClaims, TrialClaims]) -> None:
    one, other = both
    assert one.take({"a", "b"}) == {"a", "b"} and other.take({"b", "c"}) == {"c"}
    assert one.take({"a", "c"}) == {"a"} and other.take({"c"}) == {"c"}
    assert one.elsewhere() == {"c"} and other.elsewhere() == {"a", "b"}
    one.close()
    assert other.elsewhere() == set() and other.take({"a"}) == {"a"}


def test_an_owner_that_gives_no_sign_of_life_holds_nothing(both: tuple[TrialClaims, TrialClaims], clock: Clock) -> None:
    one, other = both
    one.take({"a"})
    assert other.take({"a"}) == set()
    clock.now = DEAD - 1
    assert other.elsewhere() == {"a"}
    clock.now = DEAD + 1
    assert other.elsewhere() == set() and other.take({"a"}) == {"a"}
    one._study.set_user_attr(f"featcache:alive:{one.owner}", 7)  # it was only slow
    assert other.elsewhere() == {"a"}


def test_claims_at_the_same_time_have_one_winner(url: str, clock: Clock) -> None:
    owners = [TrialClaims(url, "s", clock) for _ in range(3)]
    won: list[set[str]] = [set() for _ in owners]

    def take(rank: int) -> None:
        for point in "abcd":
            won[rank] |= owners[rank].take({point})

    threads = [threading.Thread(target=take, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(point for taken in won for point in taken) == ["a", "b", "c", "d"]
    for owner in owners:
        owner.close()
