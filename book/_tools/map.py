"""Draw the front page's map: how the chapters hang together as an argument.

python -m book._tools.map

Each part is a row: an idea, its chapters, and the question that leads on. There are two
layouts in one drawing, a wide one and one for a telephone. What has words stands in it
once and is moved by the style sheet; only lines are drawn twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ple_study.plots import EXPERTS

MAP = Path(__file__).parents[1] / "_static" / "map.svg"

CHIP, HIGH, SMALL = 98, 28, 64  # a chapter's box, and that of one of the seven
INSIDE = 24  # between rows of one part
HEADING = 22


@dataclass(frozen=True)
class Part:
    """An idea, the rows of its chapters (page: words), and the question it leaves."""

    idea: str
    rows: tuple[dict[str, str], ...]
    leaves: str = ""
    does: str = ""


SEVEN = {
    "ple3_deepfm": "DeepFM",
    "ple3_lightgcn": "LightGCN",
    "ple3_hgcn": "hyperbolic",
    "ple3_temporal": "temporal",
    "ple3_perslay": "PersLay",
    "ple3_causal": "causal",
    "ple3_transport": "transport",
}
COLOURS = [
    EXPERTS[{"hgcn": "unified_hgcn", "transport": "optimal_transport"}.get(name, name)]
    for name in (page.removeprefix("ple3_") for page in SEVEN)
]
DATA = Part(
    "The data",
    (
        {
            "data_lenses": "seven pictures",
            "journey_baselines": "real households",
            "census": "fair comparison",
        },
    ),
    "one model for all?",
    "feeds all",
)
PARTS = (
    Part(
        "Tasks fight",
        ({"ple1_conflict": "one trunk", "ple1_mmoe": "many experts"},),
        "who listens, teaches",
    ),
    Part(
        "Experts of their own",
        ({"ple2_split": "private, shared", "ple2_levels": "a second level"},),
        "but all alike",
    ),
    Part(
        "Seven ways to look",
        ({"ple3_seven": "why seven"}, SEVEN, {"ple3_compare": "side by side"}),
        "too many voices",
    ),
    Part(
        "Whom a task hears",
        ({"ple4_gates": "two gates", "ple4_hmm": "three clocks"},),
        "each task for itself?",
    ),
    Part(
        "What tasks share",
        (
            {
                "ple5_basket": "group baskets",
                "ple5_transfer": "five edges",
                "ple5_towers_losses": "towers, losses",
                "ple5_balance": "one number",
            },
        ),
        "an answer, but why?",
    ),
    Part(
        "What was learned",
        (
            {
                "ple6_interpretability": "who said so",
                "ple6_uncertainty": "how sure",
                "ple6_full_spec": "all on one page",
            },
        ),
        "and with real people?",
    ),
    Part(
        "Real customers",
        (
            {
                "journey_whole": "on the scales",
                "journey_parts": "take one away",
                "journey_one": "one household",
            },
        ),
        "and every day?",
    ),
    Part(
        "Production",
        (
            {
                "prod_your_data": "your own table",
                "prod_scale": "many hands",
                "prod_serve": "in service",
                "prod_monitor": "on watch",
            },
        ),
        "what holds?",
    ),
)
LEDGER = Part("The ledger", ({"claims": "every claim"},), does="judges all")
WHOLE = (DATA, *PARTS, LEDGER)

Point = tuple[float, float]
Row = dict[str, Point]


@dataclass(frozen=True)
class Layout:
    """Where everything stands; what is written with a page is the middle of its box."""

    name: str
    width: int
    left: int  # where the boxes begin, and right of it where they end
    right: int
    most: int  # boxes in a row
    heading: int  # room above the boxes of a part for its name, 0 where it is beside
    gap: int  # from one part to the next

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    def lines(self, row: dict[str, str]) -> list[list[str]]:
        """A row's pages, broken into lines that have room."""
        pages = list(row)
        if row is SEVEN and self.heading:
            return [pages[:4], pages[4:]]
        most = 7 if row is SEVEN else self.most
        count = -(-len(pages) // most)
        each = -(-len(pages) // count)
        return [pages[k : k + each] for k in range(0, len(pages), each)]

    def line(self, pages: list[str], y: float) -> Row:
        """Boxes side by side, about the middle."""
        box, most = (SMALL, 7) if pages[0] in SEVEN else (CHIP, self.most)
        if self.heading and box == SMALL:
            most = 4
        pitch = box + (self.right - self.left - most * box) / (most - 1)
        if box == CHIP and len(pages) < most:
            pitch = min(pitch * 1.35, self.right - self.left - CHIP)
        start = self.middle - pitch * (len(pages) - 1) / 2
        return {page: (start + k * pitch, y) for k, page in enumerate(pages)}

    def rows(self) -> list[list[Row]]:
        """The lines of boxes of every part, from the top."""
        y, placed = 0.0, []
        for part in WHOLE:
            y += self.heading
            lines: list[Row] = []
            for row in part.rows:
                for place, pages in enumerate(self.lines(row)):
                    if lines:
                        y += 10 if place else INSIDE
                    lines.append(self.line(pages, y + HIGH / 2 + 1))
                    y += HIGH
            placed.append(lines)
            y += self.gap
        return placed

    @property
    def height(self) -> int:
        last = self.rows()[-1][-1]
        return round(max(y for _, y in last.values()) + HIGH / 2 + 1)


WIDE = Layout("wide", 660, 182, 646, 4, 0, 36)
NARROW = Layout("narrow", 330, 12, 318, 3, HEADING, 36)

STYLE = """
.map { display: block; height: %(wide)dpx; width: 660px; }
.map .spot { translate: var(--w); }
.map .narrow { display: none; }
.map text { fill: var(--pst-color-text-base, #323232); font-size: 12.5px; }
.map .idea { font-size: 15px; font-weight: 600; }
.map .idea tspan { font-weight: 400; }
.map .small { font-size: 12px; }
.map .leaves { font-style: italic; }
.map :is(.leaves, .idea tspan) { fill: var(--pst-color-text-muted, #48566b); }
.map :is(.stop, .middle) { text-anchor: middle; }
.map rect {
  fill: var(--pst-color-surface, #f6f8f8);
  stroke: var(--pst-color-text-muted, #48566b);
}
.map :is(path, marker) { fill: none; stroke: var(--pst-color-text-muted, #48566b); }
.map .rail { stroke-dasharray: 2 3; }
.map .strand { stroke-width: 2.5; }
.map .tip { fill: var(--pst-color-text-muted, #48566b); stroke: none; }
.map a { text-decoration: none; }
.map a:is(:hover, :focus-visible) rect {
  fill: var(--pst-color-background, #fff);
  stroke: var(--pst-color-primary, #0b6b66);
  stroke-width: 2.5;
}
.map a:is(:hover, :focus-visible) text { fill: var(--pst-color-primary, #0b6b66); }
.map a:focus-visible {
  outline: 2px solid var(--pst-color-primary, #0b6b66);
  outline-offset: 3px;
}
.map .ahead rect { fill: none; stroke-dasharray: 3 3; }
@container (max-width: 659px) {
  .map { height: %(narrow)dpx; margin: 0 auto; width: 330px; }
  .map .spot { translate: var(--n); }
  .map .narrow { display: inline; }
  .map .wide { display: none; }
  .map .idea { text-anchor: middle; }
}
"""


def short(number: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{number:.1f}".removesuffix(".0")


def spot(wide: Point, narrow: Point) -> str:
    """The two places of a thing, for the style sheet to choose from."""
    places = (" ".join(f"{short(number)}px" for number in p) for p in (wide, narrow))
    return 'style="--w:{};--n:{}"'.format(*places)


def curve(start: Point, end: Point) -> str:
    """Down from one point to another, upright at both ends."""
    (x, y), (to_x, to_y) = start, end
    bend = (y + to_y) / 2
    points = [(x, bend), (to_x, bend), end]
    rest = " ".join(",".join(map(short, point)) for point in points)
    return f"M{short(x)},{short(y)}C{rest}"


def tip(x: float, y: float, dx: int, dy: int) -> str:
    """The head of an arrow that ends here and comes along (dx, dy)."""
    back = (x - 6 * dx, y - 6 * dy)
    wings = (back[0] + 3.5 * dy, back[1] + 3.5 * dx)
    other = (back[0] - 3.5 * dy, back[1] - 3.5 * dx)
    corners = " ".join(",".join(map(short, p)) for p in ((x, y), wings, other))
    return f'<path class="tip" d="M{corners.replace(" ", "L")}Z"/>'


def strands(lines: list[Row], below: float) -> Iterator[str]:
    """Seven colours: out of one box, through seven, into one, and on to the gates."""
    ((x, y),) = lines[0].values()
    ((to_x, to_y),) = lines[-1].values()
    places = [place for line in lines[1:-1] for place in line.values()]
    top, bottom = places[0][1] - HIGH / 2, places[-1][1] + HIGH / 2
    order = sorted(range(7), key=lambda k: places[k][0])
    for rank, k in enumerate(order):
        (at, middle), shift = places[k], 4 * (rank - 3)
        ends = [(x + shift, y + HIGH / 2), (at, top), (at, middle - HIGH / 2)]
        back = [(at, middle + HIGH / 2), (at, bottom), (to_x + shift, to_y - HIGH / 2)]
        d = f"{curve(*ends[:2])}V{short(ends[2][1])}"
        d += f"M{short(at)},{short(back[0][1])}V{short(bottom)}{curve(*back[1:])}"
        d += f"M{short(to_x + shift)},{short(to_y + HIGH / 2)}V{short(below)}"
        yield f'<path class="strand" style="stroke:{COLOURS[k]}" d="{d}"/>'


def arrows(layout: Layout) -> Iterator[str]:
    """From each part to the next, and from box to box within a line."""
    rows = layout.rows()
    for part, lines, following in zip(WHOLE, rows, [*rows[1:], None], strict=True):
        last = max(y for _, y in lines[-1].values()) + HIGH / 2
        if following is not None:
            end = min(y for _, y in following[0].values()) - HIGH / 2 - layout.heading
            x = layout.middle
            if any(row is SEVEN for row in part.rows):
                yield from strands(lines, end - 3)
            else:
                yield f'<path d="M{short(x)},{short(last + 3)}V{short(end - 7)}"/>'
                yield tip(x, end - 2, 0, 1)
        for line in lines:
            for (page, (x, y)), (_, (to_x, _)) in pairwise(line.items()):
                if page not in SEVEN and part is not DATA:
                    d = f"M{short(x + CHIP / 2)},{short(y)}H{short(to_x - CHIP / 2)}"
                    yield f'<path d="{d}"/>'


def rails(layout: Layout) -> Iterator[str]:
    """What all read comes down on the left, what is judged goes down on the right."""
    rows = layout.rows()
    left, right = layout.left - 8, layout.right + 8
    first_x, first_y = next(iter(rows[0][0].values()))
    last_x, last_y = list(rows[-1][-1].values())[-1]
    heights = [[y for line in lines for _, y in line.values()] for lines in rows[1:-1]]
    levels = [short((min(ys) + max(ys)) / 2) for ys in heights]
    reads = f"M{short(first_x - CHIP / 2)},{short(first_y)}H{left}V{levels[-1]}"
    judged = f"M{right},{levels[0]}V{short(last_y)}H{short(last_x + CHIP / 2 + 6)}"
    yield f'<path class="rail" d="{reads}"/><path class="rail" d="{judged}"/>'
    for level in levels:
        yield f'<path d="M{left},{level}h4M{right},{level}h-4"/>'
    yield tip(last_x + CHIP / 2 + 1, last_y, -1, 0)


def words() -> Iterator[str]:
    """The names of parts, their chapters as links, and the questions between them."""
    wide, narrow = WIDE.rows(), NARROW.rows()
    for number, part in enumerate(WHOLE):
        here, there = wide[number], narrow[number]
        ys = [y for line in here for _, y in line.values()]
        top = there[0][next(iter(there[0]))][1] - HIGH / 2
        place = spot((0, (min(ys) + max(ys)) / 2 + 5), (NARROW.middle, top - 8))
        name = f"<tspan>{number}</tspan> {part.idea}"
        if part.does:
            name = f"{part.idea} <tspan>{part.does}</tspan>"
        yield f'<text class="spot idea" {place}>{name}</text>'
        spots = [
            {k: v for line in lines for k, v in line.items()} for lines in (here, there)
        ]
        for row in part.rows:
            box, kind = (SMALL, ' class="small"') if row is SEVEN else (CHIP, "")
            for page, label in row.items():
                place = spot(*(where[page] for where in spots))
                yield (
                    f'<a class="spot stop" href="../book/{page}.html" {place}>'
                    f'<rect x="{-box / 2:g}" y="{-HIGH / 2:g}" width="{box}" '
                    f'height="{HIGH}" rx="4"/><text{kind} y="4.5">{label}</text></a>'
                )
        if part.leaves:
            ends = [
                max(y for _, y in lines[-1].values()) + HIGH / 2
                for lines in (here, there)
            ]
            shift = 22 if any(row is SEVEN for row in part.rows) else 10
            places = (
                (layout.middle + shift, end + layout.gap / 2 + 3)
                for layout, end in zip((WIDE, NARROW), ends, strict=True)
            )
            yield f'<text class="spot leaves" {spot(*places)}>{part.leaves}</text>'


def drawn() -> str:
    """The whole map."""
    style = STYLE % {"wide": WIDE.height, "narrow": NARROW.height}
    lines = [
        f'<g class="{layout.name}" aria-hidden="true">'
        + "".join([*rails(layout), *arrows(layout)])
        + "</g>"
        for layout in (WIDE, NARROW)
    ]
    size = f'width="{WIDE.width}" height="{WIDE.height}"'
    head = f'<svg class="map" xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, f"<style>{style}</style>", *lines, *words(), "</svg>", ""])


if __name__ == "__main__":
    MAP.write_text(drawn(), encoding="utf-8")
