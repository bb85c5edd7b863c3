"""When do two outputs of one cell say the same thing?

Words must be equal, integers equal, floats close; a figure may move by less than a
pixel. Every function answers None, or one line that names the first difference.
"""

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nbformat import NotebookNode
from PIL import Image

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])")
# In an SVG, letters and digits touch: "M100.5 20L30 40".
COORDINATE = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
GEOMETRY = frozenset(
    "cx cy d height points r transform viewBox width x x1 x2 y y1 y2".split()
)
ATTRIBUTE = re.compile(r'([\w:.-]+)="([^"]*)"')
# matplotlib names clip paths, markers and images by a hash of their content.
MATPLOTLIB_ID = re.compile(r"\b(?:[a-z]|image)[0-9a-f]{10}\b")
PNG_PREFIX = "data:image/png;base64,"


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a fresh output may be from the stored one."""

    rtol: float = 2e-3
    atol: float = 2e-4
    px: float = 0.5
    colour: int = 8  # steps of 255, a channel
    rms: float = 0.03  # of an image, as a share of full brightness

    def close(self, stored: str, fresh: str) -> bool:
        """Compare two numbers as printed: integers are equal or different."""
        if stored == fresh:
            return True
        if stored.lstrip("+-").isdigit() and fresh.lstrip("+-").isdigit():
            return False
        gap = abs(float(stored) - float(fresh))
        return gap <= self.atol + self.rtol * abs(float(stored))

    def near(self, stored: str, fresh: str) -> bool:
        """Compare two coordinates of a figure, in pixels."""
        return abs(float(stored) - float(fresh)) <= self.px

    def alike(self, stored: str, fresh: str) -> bool:
        """Compare two colours written #rrggbb."""
        pairs = zip(bytes.fromhex(stored[1:]), bytes.fromhex(fresh[1:]), strict=True)
        return all(abs(a - b) <= self.colour for a, b in pairs)


def _parts(pattern: re.Pattern[str], stored: str, fresh: str, same) -> str | None:
    """Compare what matches `pattern` by `same` and everything between exactly."""
    for ours, theirs in zip(pattern.split(stored), pattern.split(fresh), strict=False):
        if ours.split() != theirs.split():
            return f"{ours.strip()[-80:]!r} became {theirs.strip()[-80:]!r}"
    values = pattern.findall(stored), pattern.findall(fresh)
    if len(values[0]) != len(values[1]):
        return f"{len(values[0])} numbers became {len(values[1])}"
    for ours, theirs in zip(*values, strict=True):
        if not same(ours, theirs):
            return f"{ours} became {theirs}"
    return None


def text_difference(stored: str, fresh: str, tolerance: Tolerance) -> str | None:
    """Compare two texts word for word and number by number."""
    stored, fresh = (text.replace("\N{MINUS SIGN}", "-") for text in (stored, fresh))
    return _parts(NUMBER, stored, fresh, tolerance.close)


def png_difference(stored: str, fresh: str, tolerance: Tolerance) -> str | None:
    """Compare two images, base64 of a PNG, by their mean square difference."""
    images = [
        Image.open(io.BytesIO(base64.b64decode(image))).convert("RGBA")
        for image in (stored, fresh)
    ]
    sizes = np.array([image.size for image in images])
    if abs(sizes[0] - sizes[1]).max() > 4:
        return f"an image of {images[0].size} became {images[1].size} pixels"
    box = (0, 0, *sizes.min(axis=0).tolist())
    ours, theirs = (np.asarray(image.crop(box), float) / 255 for image in images)
    rms = float(np.sqrt(np.mean((ours - theirs) ** 2)))
    return None if rms <= tolerance.rms else f"an image changed by {rms:.3f} (RMS)"


def _paint_difference(stored: str, fresh: str, tolerance: Tolerance) -> str | None:
    """Compare a style: its colours in steps, everything else as text."""
    ours, theirs = COLOUR.findall(stored), COLOUR.findall(fresh)
    if len(ours) != len(theirs) or not all(map(tolerance.alike, ours, theirs)):
        return f"{stored} became {fresh}"
    return text_difference(COLOUR.sub("#", stored), COLOUR.sub("#", fresh), tolerance)


def _attribute_difference(
    name: str, stored: str, fresh: str, tolerance: Tolerance
) -> str | None:
    if name in GEOMETRY:
        return _parts(COORDINATE, stored, fresh, tolerance.near)
    if stored.startswith(PNG_PREFIX) and fresh.startswith(PNG_PREFIX):
        ours, theirs = (v.removeprefix(PNG_PREFIX) for v in (stored, fresh))
        return png_difference(ours, theirs, tolerance)
    return _paint_difference(stored, fresh, tolerance)


def _tag_difference(stored: str, fresh: str, tolerance: Tolerance) -> str | None:
    if ATTRIBUTE.sub(r"\1", stored) != ATTRIBUTE.sub(r"\1", fresh):
        return f"{stored[:80]} became {fresh[:80]}"
    pairs = zip(ATTRIBUTE.findall(stored), ATTRIBUTE.findall(fresh), strict=True)
    for (name, ours), (_, theirs) in pairs:
        if difference := _attribute_difference(name, ours, theirs, tolerance):
            return f"{name}: {difference}"
    return None


def svg_difference(stored: str, fresh: str, tolerance: Tolerance) -> str | None:
    """Compare two drawings: shapes in pixels, colours in steps, words as words."""
    pieces = [
        re.split(r"(<[^>]*>)", MATPLOTLIB_ID.sub("id", drawing))
        for drawing in (stored, fresh)
    ]
    if len(pieces[0]) != len(pieces[1]):
        return f"a figure of {len(pieces[0])} parts became {len(pieces[1])}"
    for ours, theirs in zip(*pieces, strict=True):
        is_tag = ours.startswith("<") and not ours.startswith("<!--")
        compare = _tag_difference if is_tag else text_difference
        if difference := compare(ours, theirs, tolerance):
            return difference
    return None


COMPARE = {"image/svg+xml": svg_difference, "image/png": png_difference}


def _flatten(outputs: Sequence[NotebookNode]) -> list[tuple[str, str]]:
    """List (kind, content) of all that a cell shows."""
    flat = []
    for output in outputs:
        if output.output_type == "stream":
            flat.append((output.name, output.text))
        elif output.output_type == "error":
            flat.append(("error", f"{output.ename}: {output.evalue}"))
        else:
            flat += sorted(output.data.items())
    return [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in flat]


def output_difference(
    stored: Sequence[NotebookNode],
    fresh: Sequence[NotebookNode],
    tolerance: Tolerance,
) -> str | None:
    """Compare all outputs of one cell."""
    ours, theirs = _flatten(stored), _flatten(fresh)
    kinds = [[kind for kind, _ in flat] for flat in (ours, theirs)]
    if kinds[0] != kinds[1]:
        return f"outputs {kinds[0]} became {kinds[1]}"
    for (kind, before), (_, after) in zip(ours, theirs, strict=True):
        compare = COMPARE.get(kind, text_difference)
        if difference := compare(before, after, tolerance):
            return f"{kind}: {difference}"
    return None
