"""The house as one SVG: stage one, stage two, the command line above both, the store and the results between.

Text is measured with the widths of a wide font, so that it fits in whichever font a reader has. The same house gives
the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from string import ascii_uppercase

from floor_plan import SLOT, Bus, Plan, lay_out, room_of
from import_graph import APP, STAGES, House, Room, reduced

STORE, TRAINING = "featcache.store", "heads.training"  # where stage one ends and stage two begins
TITLES = {
    "featcache": "STAGE ONE, featcache/: images in, cached features out",
    "heads": "STAGE TWO, heads/: cached features in, trained heads out",
}
WIDTHS = {"featcache": 560, "heads": 470}  # of the stages' plans
MOST = 3  # rooms beside each other: a layer of more takes two rows
MARGIN, PAD, BAND = 20, 16, 24  # around all, within a panel, the strip with a stage's title
MIDDLE = 150  # between the stages
TOP = 62  # the headline
NAME, WORDS, LINE = 15, 12, 15  # font sizes, and from line to line
TRACK, NEAR = 9, 13  # between lines that run beside each other, and from them to boxes

# Of a letter's width in its size, in DejaVu Sans, which is wider than Helvetica, Arial and Liberation Sans.
SHARES = (("ijl.,:;'|! ", 0.34), ("tfrI()[]/-", 0.42), ("cksvxyz", 0.6), ("mwMWOQ@%…", 1.0), (ascii_uppercase, 0.76))

INK, PALE, PAPER, PANEL, BOX = "#1f2933", "#52606d", "#fbfaf6", {"featcache": "#e9f1f7", "heads": "#f6efe2"}, "#ffffff"
LAYER = {"featcache": "#dbe7f0", "heads": "#eee3cf"}
STRIP = {"featcache": "#2f6690", "heads": "#8a5a14"}
LINES = ("#2f6690", "#b3541e", "#4f772d", "#7b4b94", "#a4243b", "#11707a", "#7a6a1c", "#5b5f97")


@dataclass
class Sheet:
    """Marks in the order they are drawn."""

    marks: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, edge: str = "none", more: str = ""
    ) -> None:
        """A rectangle."""
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        self.marks.append(f'<rect {place} rx="6" fill="{fill}" stroke="{edge}"{more}/>')

    def text(self, x: float, y: float, words: str, size: int = WORDS, fill: str = INK, more: str = "") -> None:
        """One line that begins at `x`."""
        self.marks.append(f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}"{more}>{escape(words)}</text>')

    def line(self, points: list[tuple[float, float]], colour: str, more: str = "") -> None:
        """A line from point to point."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.marks.append(f'<polyline points="{path}" stroke="{colour}"{more}/>')

    def arrow(self, x: float, y: float, colour: str, way: str = "down") -> None:
        """The head of an arrow that ends at this point."""
        corners = {"down": ((-4, -7), (4, -7)), "left": ((7, -4), (7, 4)), "right": ((-7, -4), (-7, 4))}[way]
        path = " ".join(f"{x + dx:g},{y + dy:g}" for dx, dy in ((0, 0), *corners))
        self.marks.append(f'<polygon points="{path}" fill="{colour}"/>')

    def drum(self, x: float, y: float, width: float, height: float, name: str, words: list[str]) -> None:
        """Files on the disk."""
        bulge, right, bottom = 9, x + width, y + height
        self.marks.append(
            f'<path d="M{x:g},{y:g} V{bottom:g} A{width / 2:g},{bulge} 0 0 0 {right:g},{bottom:g} V{y:g}" '
            f'fill="{BOX}" stroke="{INK}"/>'
            f'<ellipse cx="{x + width / 2:g}" cy="{y:g}" rx="{width / 2:g}" ry="{bulge}" fill="{BOX}" stroke="{INK}"/>'
        )
        self.text(x + 10, y + 27, name, NAME, INK, ' font-weight="700"')
        for number, line in enumerate(words):
            self.text(x + 10, y + 27 + LINE * (number + 1), line, WORDS, PALE)


def draw(house: House) -> str:
    """The picture."""
    sheet = Sheet()
    left = MARGIN
    right = left + _panel_width("featcache") + MIDDLE
    width = right + _panel_width("heads") + MARGIN
    app = house.rooms[APP]
    top = TOP + 46  # of the panels
    panels = {stage: _Panel(house, stage, x, top) for stage, x in zip(STAGES, (left, right), strict=True)}
    for panel in panels.values():
        panel.draw(sheet)
    sheet.box(left, TOP, width - 2 * MARGIN, 46, BOX, INK, ' class="room"')
    _words(sheet, left + 14, TOP, app, int(width - 2 * MARGIN - 28), 46)
    _between(sheet, house, panels["featcache"], panels["heads"])
    legend = _legend(sheet, house, right, panels["heads"].bottom + 120, _panel_width("heads"))
    height = max(legend, *(panel.bottom for panel in panels.values())) + MARGIN
    sheet.text(left, 30, "featcache: the rooms, and which import which", 19, INK, ' font-weight="700"')
    sheet.text(
        left,
        49,
        "Drawn from pyproject.toml and the code by bin/map. An arrow points at the room that is used.",
        12,
        PALE,
    )
    body = "\n".join(sheet.marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" role="img">\n'
        "<title>The rooms of featcache and heads, and which import which</title>\n"
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
        f'<g stroke-width="1.3" stroke-linejoin="round" fill="none">\n{body}\n</g>\n</svg>\n'
    )


class _Panel:
    """One stage: its plan, and where that lies on the sheet."""

    def __init__(self, house: House, stage: str, x: int, y: int) -> None:
        self.house, self.stage, self.x, self.y = house, stage, x, y
        self.left = x + PAD + (BAND if stage == STAGES[0] else 0)  # of the plan; strips are on the outer sides
        layers = [_split(layer) for layer in house.layers[stage] if layer != (APP,)]
        rows = [[APP], *(row for layer in layers for row in layer)]
        self.layer_rows = [len(layer) for layer in layers]
        self.plan: Plan = lay_out(rows, reduced(house.within(stage)), WIDTHS[stage], STORE)
        self.places: dict[str, tuple[int, int, int, int]] = {}  # of each room: left, top, width, height
        self.tops: list[tuple[int, int]] = []  # of each row below the command line: top, height
        for row, buses in zip(self.plan.rows[1:], self.plan.buses, strict=True):
            tall = max(_height(house.rooms[i.name], i.width) for i in row if i.name in house.rooms)
            y += 2 * NEAR + TRACK * max((b.track + 1 for b in buses if b.track is not None), default=0) + 4
            self.tops.append((y, tall))
            self.places |= {i.name: (self.left + i.left, y, i.width, tall) for i in row if i.name in house.rooms}
            y += tall
        self.bottom = y + PAD

    def draw(self, sheet: Sheet) -> None:
        """Panel, lines, boxes."""
        width, height = _panel_width(self.stage), self.bottom - self.y
        sheet.box(self.x, self.y, width, height, PANEL[self.stage])
        strip = self.x if self.stage == STAGES[0] else self.x + width - BAND
        sheet.box(strip, self.y, BAND, height, STRIP[self.stage])
        sheet.text(
            0,
            0,
            TITLES[self.stage],
            12,
            "#ffffff",
            f' font-weight="700" text-anchor="end" transform="translate({strip + 16} {self.y + 14}) rotate(-90)"',
        )
        tops = iter(self.tops)
        for rows in self.layer_rows:
            own = [next(tops) for _ in range(rows)]
            first, end = own[0][0] - 4, own[-1][0] + own[-1][1] + 4
            sheet.box(self.left - 8, first, WIDTHS[self.stage] + 16, end - first, LAYER[self.stage])
        colours = {room: LINES[n % len(LINES)] for n, room in enumerate(self.places)}  # near ones differ
        above = self.y
        for (y, tall), row, buses in zip(self.tops, self.plan.rows[1:], self.plan.buses, strict=True):
            for bus in buses:
                self._bus(sheet, bus, above, y, colours[room_of(bus.target)])
            for item in row:
                if item.width == SLOT:
                    x = self.left + item.x
                    room = room_of(item.name)
                    sheet.line([(x, y), (x, y + tall)], colours[room], f' class="{room}"')
            above = y + tall
        for name, (x, y, wide, tall) in self.places.items():
            sheet.box(x, y, wide, tall, BOX, INK, ' class="room"')
            _words(sheet, x + 9, y, self.house.rooms[name], wide - 18, tall)

    def _bus(self, sheet: Sheet, bus: Bus, above: int, below: int, colour: str) -> None:
        x, ports = self.left + bus.x, [self.left + port for port in bus.ports]
        mark = f' class="{room_of(bus.target)}"'
        if bus.track is None:
            sheet.line([(x, above), (x, below)], colour, mark)
        else:
            across = above + NEAR + TRACK * bus.track
            for port in ports:
                sheet.line([(port, above), (port, across)], colour, mark)
            sheet.line([(min(*ports, x), across), (max(*ports, x), across)], colour, mark)
            sheet.line([(x, across), (x, below)], colour, mark)
        if room_of(bus.target) == bus.target:
            sheet.arrow(x, below, colour)


def _between(sheet: Sheet, house: House, one: _Panel, two: _Panel) -> None:
    """What lies between the stages: the imports of stage one by stage two, the store, the results."""
    near, far = one.x + _panel_width("featcache"), two.x
    imports = house.between()
    doors = sorted({imported.partition(".")[2] for _, imported in imports})
    y = one.y + 50
    sheet.line([(far, y), (near + 6, y)], INK, ' stroke-width="3"')
    sheet.arrow(near + 1, y, INK, "left")
    said = f"heads imports {len(doors)} rooms of featcache by their doors, never the reverse"
    for number, line in enumerate(_wrapped(said, MIDDLE - 28)):
        sheet.text(near + 14, y + 20 + LINE * number, line, WORDS, PALE)
    x, y, wide, tall = one.places[STORE]
    middle, drum = y + tall // 2, (near + 22, y - 2, MIDDLE - 50, tall + 8)
    dashes = ' stroke-dasharray="5 3" stroke-width="2"'
    sheet.line([(x + wide, middle), (drum[0] - 7, middle)], INK, dashes)
    sheet.arrow(drum[0], middle, INK, "right")
    sheet.drum(*drum, "cache/*.h5", ["features by", "content hash"])
    tx, ty, _, ttall = two.places[TRAINING]
    sheet.line(
        [(drum[0] + drum[2], middle), (far - 14, middle), (far - 14, ty + ttall // 2), (tx - 7, ty + ttall // 2)],
        INK,
        dashes,
    )
    sheet.arrow(tx, ty + ttall // 2, INK, "right")
    results = (two.x + 120, two.bottom + 42, 260, 44)
    sheet.line([(results[0] + 130, two.bottom), (results[0] + 130, results[1] - 17)], INK, dashes)
    sheet.arrow(results[0] + 130, results[1] - 9, INK)
    sheet.drum(*results, "results/", ["run folders, leaderboard.csv, report.html"])


def _legend(sheet: Sheet, house: House, x: int, y: int, width: int) -> int:
    """Where it ends."""
    kept = sum(len(reduced(house.within(stage))) for stage in STAGES)
    every = len({pair for stage in STAGES for pair in house.within(stage)})
    said = [
        "How to read it",
        f"Each stage's arrows are those that do not follow from others: {kept} of {every} imports between its rooms. "
        "Lines to one room share a colour and run together.",
        "The imports of stage one by stage two are one arrow.",
        "Bands are the layers of the import contracts: a room uses rooms of lower bands only.",
        "Dashes are files: the stages meet at the store, the report meets training at results/.",
        "Other rooms come in by a room's door, its __init__.py.",
    ]
    y += 30
    for number, paragraph in enumerate(said):
        for line in _wrapped(paragraph, width - 20):
            sheet.text(x, y, line, 12, INK, ' font-weight="700"' if number == 0 else "")
            y += 17
        y += 5
    return y


def _words(sheet: Sheet, x: int, y: int, room: Room, width: int, tall: int) -> None:
    """A room's name and purpose."""
    lines = fitted(room.purpose, width)
    y += (tall - NAME - LINE * len(lines)) // 2 + NAME - 3
    sheet.text(x, y, room.label, NAME, INK, ' font-weight="700"')
    for number, line in enumerate(lines):
        sheet.text(x, y + LINE * (number + 1) + 1, line, WORDS, PALE)


def _height(room: Room, width: int) -> int:
    return NAME + LINE * len(fitted(room.purpose, width - 18)) + 14


def fitted(words: str, width: int, most: int = 4) -> list[str]:
    """`words` in at most `most` lines of `width`: as many of its clauses as fit, else of its words."""
    clauses = [words[:i] for i, c in enumerate(words) if c in ":;,"]
    for part in [words.rstrip("."), *reversed(clauses)]:
        if len(lines := _wrapped(part, width)) <= most:
            return lines
    return [*lines[: most - 1], f"{lines[most - 1]} …"] if (lines := _wrapped(words, width - 14)) else []


def _wrapped(words: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in words.replace("`", "").split():
        if lines and measure(f"{lines[-1]} {word}", WORDS) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def measure(words: str, size: int) -> float:
    """Not less than the width of `words`, in any common font without serifs."""
    return size * sum(next((share for some, share in SHARES if c in some), 0.64) for c in words)


def _panel_width(stage: str) -> int:
    return WIDTHS[stage] + 2 * PAD + BAND


def _split(layer: tuple[str, ...]) -> list[list[str]]:
    """A layer in rows of at most MOST."""
    rows = -(-len(layer) // MOST)
    size = -(-len(layer) // rows)
    return [list(layer[start : start + size]) for start in range(0, len(layer), size)]
