"""Where the rooms of one stage stand: rows from the top down, and lines that go between boxes, never through one.

Layered drawing (Sugiyama, Tagawa and Toda 1981): an import that passes a row gets a slot of its own there; rows are
ordered by the mean place of their neighbours. All imports of one room share a line, which ends in one arrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from import_graph import Import

SLOT = 4  # width of a line that passes a row
GAP = 18  # between neighbours in a row
PORT = 14  # between lines that leave one box
WIDEST = 300  # a box
NUDGE = 16  # as far as a line is moved to make it straight
SWEEPS = 24

Link = tuple[str, str]  # from an item to one in the next row


@dataclass(frozen=True)
class Item:
    """A box, or the slot of a line that passes; `x` is its middle."""

    name: str
    x: int
    width: int

    @property
    def left(self) -> int:
        """Its left edge."""
        return self.x - self.width // 2


@dataclass(frozen=True)
class Bus:
    """What enters one item from the row above: lines down from `ports`, joined on `track`, then down to `x`."""

    target: str  # the item it enters
    ports: tuple[int, ...]
    x: int
    track: int | None  # None: a straight line


@dataclass(frozen=True)
class Plan:
    """The rows of a stage, and between each two of them the lines."""

    rows: tuple[tuple[Item, ...], ...]
    buses: tuple[tuple[Bus, ...], ...]


def lay_out(rows: Sequence[Sequence[str]], imports: Iterable[Import], width: int, last: str) -> Plan:
    """Place the rooms in `rows`, the first of which is as wide as the plan; `last` is the room that ends its row."""
    filled, links = _with_slots(rows, sorted(imports))
    ordered = _ordered(filled, links, last)
    real = {name for row in rows for name in row}
    places = _placed(ordered, links, {n: _width(n, row, real, width) for row in ordered for n in row}, width)
    places |= _swapped(links, places)
    items = tuple(tuple(places[name] for name in row) for row in ordered)
    return Plan(items, tuple(_buses(upper, links, places) for upper in ordered[:-1]))


def _swapped(links: Sequence[Link], places: Mapping[str, Item]) -> dict[str, Item]:
    """Slots that two passing lines swap, each ending under the other: one of them stands a little aside, for else
    neither line could keep above the other."""
    passing = [(a, b) for a, b in links if places[a].width == places[b].width == SLOT]
    crossed = {
        max(b, d)
        for (a, b), (c, d) in combinations(passing, 2)
        if abs(places[a].x - places[d].x) < 6 and abs(places[c].x - places[b].x) < 6 and a != c and b != d
    }
    return {name: replace(places[name], x=places[name].x + GAP // 2) for name in crossed}


def room_of(item: str) -> str:
    """The room that an item is, or that its line goes to."""
    return item.partition("@")[0]


def _with_slots(rows: Sequence[Sequence[str]], imports: Sequence[Import]) -> tuple[list[list[str]], list[Link]]:
    rank = {name: number for number, row in enumerate(rows) for name in row}
    filled = [list(row) for row in rows]
    links: dict[Link, None] = {}
    for importer, imported in imports:
        above = importer
        for number in range(rank[importer] + 1, rank[imported]):
            slot = f"{imported}@{number}"
            if slot not in filled[number]:
                filled[number].append(slot)
            links[above, slot] = None
            above = slot
        links[above, imported] = None
    return filled, list(links)


def _ordered(rows: list[list[str]], links: list[Link], last: str) -> list[list[str]]:
    """The rows in an order with few crossings."""
    best, fewest = rows, _crossings(rows, links)
    for sweep in range(SWEEPS):
        place = {name: number / max(1, len(row)) for row in rows for number, name in enumerate(row)}
        for row in rows if sweep % 2 == 0 else reversed(rows):
            near = {n: [place[a if b == n else b] for a, b in links if n in (a, b)] for n in row}
            goal = {n: sum(near[n]) / len(near[n]) if near[n] else place[n] for n in row}
            row.sort(key=lambda n: (n == last, goal[n], n))
            place |= {name: (number + 0.5) / len(row) for number, name in enumerate(row)}
        if (found := _crossings(rows, links)) < fewest:
            best, fewest = [list(row) for row in rows], found
    return best


def _crossings(rows: list[list[str]], links: list[Link]) -> int:
    place = {name: (level, number) for level, row in enumerate(rows) for number, name in enumerate(row)}
    ends = [(place[a], place[b]) for a, b in links]
    return sum(a[0] == c[0] and (a[1] - c[1]) * (b[1] - d[1]) < 0 for (a, b), (c, d) in combinations(ends, 2))


def _width(name: str, row: list[str], real: set[str], width: int) -> int:
    if name not in real:
        return SLOT
    boxes = sum(n in real for n in row)
    free = width - GAP * (len(row) - 1) - SLOT * (len(row) - boxes)
    return free // 2 * 2 if row == [name] and name.endswith(".app") else min(WIDEST, free // boxes // 2 * 2)


def _placed(rows: list[list[str]], links: list[Link], widths: dict[str, int], width: int) -> dict[str, Item]:
    """Each item near the mean of its neighbours, none closer to the next than GAP."""
    x = {name: width / 2 for row in rows for name in row}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            near = {n: [x[a if b == n else b] for a, b in links if n in (a, b)] for n in row}
            goals = [sum(near[n]) / len(near[n]) if near[n] else width / 2 for n in row]
            weights = [1.0 if widths[n] > SLOT else 4.0 for n in row]  # a bent line costs more than a box to one side
            x |= dict(zip(row, _apart(goals, [widths[n] for n in row], weights, width, GAP), strict=True))
    places = {name: Item(name, int(value), widths[name]) for name, value in x.items()}
    for row in rows:
        _straighten(row, links, places)
    return places


def _straighten(row: list[str], links: list[Link], places: dict[str, Item]) -> None:
    """A line that passes goes on where it came from, where its neighbours leave room for that."""
    for number, name in enumerate(row):
        above = [places[a].x for a, b in links if b == name and places[a].width == SLOT]
        if places[name].width > SLOT or not above or abs(above[0] - places[name].x) > NUDGE:
            continue
        beside = [places[n] for n in row[max(0, number - 1) : number + 2] if n != name]
        if all(abs(above[0] - o.x) >= o.width // 2 + GAP // 2 for o in beside):
            places[name] = Item(name, above[0], SLOT)


def _apart(
    goals: Sequence[float], widths: Sequence[int], weights: Sequence[float], width: int, gap: int
) -> list[float]:
    """The places nearest to `goals`, in their order and `gap` apart (isotonic regression by pooling neighbours)."""
    offsets = [sum(widths[:i]) + gap * i + widths[i] / 2 for i in range(len(widths))]
    pools: list[tuple[float, float, int]] = []  # value, weight, members
    for goal, offset, weight in zip(goals, offsets, weights, strict=True):
        pools.append((goal - offset, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (v, w, n), (v2, w2, n2) = pools[-2:]
            pools[-2:] = [((v * w + v2 * w2) / (w + w2), w + w2, n + n2)]
    room = width - sum(widths) - gap * (len(widths) - 1)
    starts = [min(max(0.0, value), room) for value, _, members in pools for _ in range(members)]
    return [float(round(start)) + offset for start, offset in zip(starts, offsets, strict=True)]


def _buses(upper: Sequence[str], links: list[Link], places: Mapping[str, Item]) -> tuple[Bus, ...]:
    """The lines between a row and the next."""
    ports: dict[str, list[int]] = {}
    for name in upper:
        lower = sorted((b for a, b in links if a == name), key=lambda b: places[b].x)
        item = places[name]
        if item.width == SLOT:
            ports.setdefault(lower[0], []).append(item.x)
            continue
        goals = [float(places[b].x - item.left - PORT) for b in lower]
        leaves = _apart(goals, [0] * len(lower), [1.0] * len(lower), item.width - 2 * PORT, PORT)
        for b, port in zip(lower, leaves, strict=True):
            ports.setdefault(b, []).append(item.left + PORT + int(port))
    return _tracked([Bus(b, tuple(sorted(them)), places[b].x, None) for b, them in sorted(ports.items())])


def _tracked(buses: list[Bus]) -> tuple[Bus, ...]:
    """Each bent line on a track of its own where others run beside it; one whose end lies under another's port below
    that one, so that the two never share a stretch."""
    done: dict[str, Bus] = {}
    waiting = [bus for bus in buses if set(bus.ports) != {bus.x}]
    while waiting:
        free = [b for b in waiting if not any(_ends_under(b, other) for other in waiting if other is not b)]
        bus = (free or waiting)[0]
        low, high = min(*bus.ports, bus.x), max(*bus.ports, bus.x)
        beside = [o.track for o in done.values() if o.track is not None and _beside(o, low, high)]
        under = [o.track for o in done.values() if o.track is not None and _ends_under(bus, o)]
        track = max(under, default=-1) + 1
        while track in beside:
            track += 1
        done[bus.target] = Bus(bus.target, bus.ports, bus.x, track)
        waiting.remove(bus)
    return tuple(done.get(bus.target, bus) for bus in buses)


def _ends_under(bus: Bus, other: Bus) -> bool:
    return any(abs(bus.x - port) < 6 for port in other.ports)


def _beside(other: Bus, low: int, high: int) -> bool:
    return min(*other.ports, other.x) - 8 < high and low < max(*other.ports, other.x) + 8
