"""The directive `claim-picture`: what was measured for a claim, drawn against its bar.

It is drawn when the page is built, from the stored numbers of the ledger: one row a
case. A claim without a result shows its bar over empty rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from docutils import nodes
from matplotlib.ticker import MaxNLocator
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ple_study.bars import ONLY, Claim, Rule
from ple_study.claims import Ledger
from ple_study.verdicts import Finding, Measured

WIDTH, EDGE = 320, 16
HEAD, ROW, FOOT = 20, 20, 18
LETTER = 5.9  # the mean width of a letter at the size in book.css, rather too wide
WORDS = {"met": "bar reached", "missed": "bar missed", "open": "not decided"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Numbers from ``low`` to ``high`` onto whole pixels from ``left`` to the edge."""

    low: float
    high: float
    left: int

    @classmethod
    def around(cls, numbers: Iterable[float], left: int) -> "Scale":
        """All the numbers, with a margin; one number alone gets its size, or one."""
        numbers = list(numbers)
        low, high = min(numbers), max(numbers)
        margin = 0.06 * (high - low) or abs(low) or 1.0
        return cls(low=low - margin, high=high + margin, left=left)

    def __call__(self, number: float) -> int:
        share = (number - self.low) / (self.high - self.low)
        return round(self.left + share * (WIDTH - EDGE - self.left))

    def ticks(self) -> list[float]:
        """Round numbers, as many as have room."""
        locator = MaxNLocator(max(2, (WIDTH - self.left) // 60), steps=[1, 2, 5, 10])
        found = locator.tick_values(self.low, self.high)
        return [float(tick) for tick in found if self.low <= tick <= self.high]


def printed(number: float, digits: int = 10) -> str:
    """A number as short as it goes, with a true minus sign."""
    return f"{number:.{digits}g}".replace("e-0", "e-").replace("-", "\N{MINUS SIGN}")


def promise(claim: Claim) -> str:
    """What the bar says, such as `holds above 0.3`; an argument turns it over."""
    _, relation, *ends = claim.bar.rule.replace("-", "\N{MINUS SIGN}").split()
    if relation == "within":
        span = f"from {ends[0]} to {ends[1]}"
        words = f"at {ends[0]}" if ends[0] == ends[1] else span
    else:
        words = f"{relation} {ends[0]}"
    return f"{'refuted' if claim.argument else 'holds'} {words}"


def found_in_words(name: str, found: Measured) -> str:
    """One row of the picture, for those who cannot see it."""
    if found.rule.text.startswith("every"):
        ends = (printed(end(found.values), 3) for end in (min, max))
        numbers = f"{len(found.values)} seeds from {' to '.join(ends)}"
    else:
        mean, low, high = (printed(number, 3) for number in found.interval[:3])
        numbers = f"mean {mean}, 95 % interval from {low} to {high}"
    row = f"{name}: {numbers}, {WORDS[found.outcome]}"
    return row.removeprefix(f"{ONLY}: ")


def label(claim: Claim, finding: Finding | None) -> str:
    """The whole picture in words."""
    scope = "every seed" if claim.bar.rule.startswith("every") else "the whole interval"
    bar = f"Claim {claim.name}. Bar: {promise(claim)}, for {scope}."
    if finding is None:
        return f"{bar} Not measured yet."
    rows = (found_in_words(name, found) for name, found in finding.cases.items())
    return f"{bar} Found: {'; '.join(rows)}."


def mark(x: int, y: int, outcome: str, radius: int) -> str:
    """A disc where the bar is reached, a ring where it is missed, half where open."""
    ring = f'<circle class="{outcome}" cx="{x}" cy="{y}" r="{radius}"/>'
    r = radius
    half = f'<path class="half" d="M{x} {y - r}A{r} {r} 0 0 1 {x} {y + r}Z"/>'
    return ring + (half if outcome == "open" else "")


def row(found: Measured, scale: Scale, y: int) -> str:
    """An interval with its mean, over faint seeds; or the seeds, if all must comply."""
    seeds = [scale(value) for value in found.values]
    if found.rule.text.startswith("every"):
        line = f'<path class="interval" d="M{min(seeds)} {y}H{max(seeds)}"/>'
        outcomes = [found.rule.outcome((value,)) for value in found.values]
        marks = dict.fromkeys(zip(seeds, outcomes, strict=True))
        return line + "".join(mark(x, y, outcome, 3) for x, outcome in marks)
    mean, low, high = map(scale, found.interval[:3])
    ticks = "".join(f"M{x} {y - 5}V{y + 5}" for x in seeds)
    line = f'<path class="interval" d="M{low} {y}H{high}"/>'
    return f'<path class="seeds" d="{ticks}"/>{line}{mark(mean, y, found.outcome, 4)}'


def bar(claim: Claim, scale: Scale, bottom: int) -> str:
    """The bar: its line or two, the side that is promised, and its words on top."""
    relation = claim.bar.rule.split()[1]
    ends = [scale(bound) for bound in Rule(claim.bar.rule).bounds]
    left = scale.left if relation == "below" else ends[0]
    right = WIDTH - EDGE if relation == "above" else ends[1]
    side = f'<rect class="side" x="{left}" y="{HEAD}" width="{right - left}" '
    lines = "".join(f"M{x} {HEAD}V{bottom}" for x in sorted(set(ends)))
    words = {"below": "\N{LEFTWARDS ARROW} {}", "above": "{} \N{RIGHTWARDS ARROW}"}
    text = words.get(relation, "{}").format(promise(claim))
    length = LETTER * len(text)
    start = {"below": right - length, "above": left}.get(
        relation, (left + right - length) / 2
    )
    x = round(min(max(start, 0), WIDTH - length))
    drawn = f'{side}height="{bottom - HEAD}"/><path class="bar" d="{lines}"/>'
    return f'{drawn}<text x="{x}" y="{HEAD - 7}">{text}</text>'


def axis(scale: Scale, bottom: int) -> str:
    """The scale under the rows."""
    ticks = [(scale(tick), printed(tick)) for tick in scale.ticks()]
    strokes = "".join(f"M{x} {bottom}v4" for x, _ in ticks)
    numbers = "".join(
        f'<text class="number" x="{x}" y="{bottom + FOOT - 3}">{text}</text>'
        for x, text in ticks
    )
    line = f"M{scale.left} {bottom}H{WIDTH - EDGE}"
    return f'<path class="axis" d="{line}{strokes}"/>{numbers}'


def picture(claim: Claim, finding: Finding | None) -> str:
    """The claim as an SVG, 320 pixels wide, coloured by the page's style sheet."""
    found = dict(finding.cases) if finding else {}
    numbers = list(Rule(claim.bar.rule).bounds)
    for measured in found.values():
        numbers += [*measured.values, *measured.interval[:3]]
    names = [] if list(claim.cases) == [ONLY] else list(claim.cases)
    left = round(LETTER * max(map(len, names), default=0))
    scale = Scale.around(numbers, left + (8 if names else EDGE))
    bottom = HEAD + ROW * len(claim.cases) + 2
    parts = [bar(claim, scale, bottom), axis(scale, bottom)]
    for place, name in enumerate(claim.cases):
        y = HEAD + ROW * place + ROW // 2 + 1
        if names:
            parts.append(f'<text x="0" y="{y + 4}">{escape(name)}</text>')
        if name in found:
            parts.append(row(found[name], scale, y))
    size = f'width="{WIDTH}" height="{bottom + FOOT}"'
    head = f'<svg class="claim-picture" role="img" {size} viewBox="0 0 {WIDTH} '
    words = escape(label(claim, finding))
    return f'{head}{bottom + FOOT}" aria-label="{words}">{"".join(parts)}</svg>'


@cache
def read(folder: Path) -> tuple[dict[str, Claim], dict[str, Finding]]:
    """The claims of a folder and what was found, read once a build."""
    ledger = Ledger(folder)
    return ledger.claims, ledger.findings()


class ClaimPicture(SphinxDirective):
    """The picture of the claim whose number is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Answer the drawing; the page is built again when its numbers change."""
        folder = Path(self.env.doc2path(self.env.docname)).parent / "claims"
        name = self.arguments[0]
        try:
            claims, found = read(folder)
        except ValueError as error:
            raise self.error(str(error)) from error
        if name not in claims:
            raise self.error(f"A picture needs a claim of the ledger. Found {name!r}.")
        self.env.note_dependency(str(folder / "definitions.toml"))
        if name in found:
            self.env.note_dependency(str(folder / "results" / f"{name}.json"))
        return [nodes.raw("", picture(claims[name], found.get(name)), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("claim-picture", ClaimPicture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
