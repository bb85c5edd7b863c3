"""What counts as the same output, and what must not."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from nbformat.v4 import new_output
from PIL import Image

from tests.book.compare import (
    Tolerance,
    output_difference,
    png_difference,
    svg_difference,
    text_difference,
)

DEFAULT = Tolerance()


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ("AUC 0.8125", "AUC 0.8126"),
        ("AUC  0.8125 ", "AUC 0.8125"),
        ("loss -0.0000", "loss 0.0001"),
        ("tensor([1., 2.])", "tensor([1.0000, 2.0001])"),
        ("\N{MINUS SIGN}0.5", "-0.5"),
        ("<td>0.9100</td>", "<td>0.9101</td>"),
    ],
)
def test_texts_that_say_the_same(stored: str, fresh: str) -> None:
    assert text_difference(stored, fresh, DEFAULT) is None


@pytest.mark.parametrize(
    ("stored", "fresh"),
    [
        ("AUC 0.8125", "AUC 0.8225"),
        ("3 seeds", "4 seeds"),
        ("128 of 1000 customers", "128 of 1001 customers"),
        ("PLE wins", "MMoE wins"),
        ("loss nan", "loss 0.1"),
        ("0.5 0.5", "0.5"),
        ("0.5", "0.5 extra"),
        ("layer3 0.5", "layer4 0.5"),
        ("gain 0.02", "gain -0.02"),
        ("hi", ""),
    ],
)
def test_texts_that_differ(stored: str, fresh: str) -> None:
    assert text_difference(stored, fresh, DEFAULT) is not None


def test_an_own_tolerance_widens_floats_only() -> None:
    wide = Tolerance(atol=0.02)
    assert text_difference("AUC 0.81", "AUC 0.82", wide) is None
    assert text_difference("3 seeds", "4 seeds", wide) is not None


def draw(kind: str, height: float = 0.3, label: str = "AUC", colour: str = "C0") -> str:
    """Draw three points; the middle one stands at `height`."""
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([1, 2, 3], [0.1, height, 0.2], marker="o", color=colour)
    ax.set(ylabel=label, ylim=(0, 0.5))
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {})
    plt.close(fig)
    drawn = buffer.getvalue()
    return drawn.decode() if kind == "svg" else base64.b64encode(drawn).decode()


@pytest.mark.parametrize("fonttype", ["none", "path"])
def test_figures(fonttype: str) -> None:
    with plt.rc_context({"svg.hashsalt": "small", "svg.fonttype": fonttype}):
        stored = draw("svg")
        assert svg_difference(stored, draw("svg", 0.3 + 2e-4), DEFAULT) is None
        assert svg_difference(stored, draw("svg", 0.37), DEFAULT) is not None
        assert svg_difference(stored, draw("svg", label="Loss"), DEFAULT) is not None
        assert svg_difference(stored, draw("svg", colour="C1"), DEFAULT) is not None
        assert svg_difference(stored, draw("svg", 0.32), Tolerance(px=8)) is None


def test_a_tick_label_is_a_number_not_a_coordinate() -> None:
    stored, fresh = "<text x='1'>0.25</text>", "<text x='1'>0.35</text>"
    assert svg_difference(stored, fresh, Tolerance(px=8)) is not None


def heatmap(value: float) -> str:
    """Draw one grey image, as imshow stores it."""
    pixels = np.full((20, 20, 3), round(255 * value), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def test_images_are_compared_by_what_is_seen() -> None:
    assert png_difference(draw("png"), draw("png"), DEFAULT) is None
    assert png_difference(heatmap(0.50), heatmap(0.51), DEFAULT) is None
    assert png_difference(heatmap(0.50), heatmap(0.60), DEFAULT) is not None


def test_an_image_inside_a_drawing_is_compared_as_an_image() -> None:
    drawings = [
        f'<svg><image id="image{round(100 * v):010x}" '
        f'xlink:href="data:image/png;base64,{heatmap(v)}"/></svg>'
        for v in (0.50, 0.51, 0.60)
    ]
    assert svg_difference(drawings[0], drawings[1], DEFAULT) is None
    assert svg_difference(drawings[0], drawings[2], DEFAULT) is not None


def test_a_missing_or_extra_output_is_a_difference() -> None:
    text = new_output("stream", name="stdout", text="hi")
    error = new_output("error", ename="ValueError", evalue="no", traceback=[])
    assert output_difference([text], [text], DEFAULT) is None
    assert output_difference([text], [], DEFAULT) is not None
    assert output_difference([error], [text], DEFAULT) is not None
    other = new_output("error", ename="KeyError", evalue="no", traceback=["x"])
    assert output_difference([error], [other], DEFAULT) is not None
