"""What is wrong in a record: where, what is there, kind, expected, found.

A value of ``...`` is left out.
"""

from typing import Any

import numpy as np

TXN, SHORT = ("events", "txn"), ("diagrams", "short")
NUMBER, TRUE = "a finite number", "true or false"
EXTRA = "extra_forbidden"
WRONG: dict[str, tuple[tuple[Any, ...], Any, str, str, str]] = {
    "nothing": (("rfm_1",), ..., "missing", NUMBER, "nothing."),
    "none": (("rfm_1",), None, "float_type", NUMBER, "None."),
    "text": (("rfm_1",), "3", "float_type", NUMBER, "'3'."),
    "truth": (("rfm_1",), True, "float_type", NUMBER, "True."),
    "nan": (("rfm_1",), float("nan"), "finite_number", NUMBER, "nan."),
    "infinite": (("rfm_1",), float("inf"), "finite_number", NUMBER, "inf."),
    "too large": (("rfm_1",), 1e39, "finite_number", NUMBER, "1e+39."),
    "far too large": (("rfm_1",), 10**400, "finite_number", NUMBER, "1000000"),
    "column": (("rfm1",), 3, EXTRA, "left out", "3. Did you mean 'rfm_1'?"),
    "category": (("city",), 3, "string_type", "a text such as 'a', or None", "3."),
    "events": (("events",), [1], "dict_type", "a mapping of names", "[1]."),
    "series": (("events", "txns"), {}, EXTRA, "left out", "mean 'txn'?"),
    "part": ((*TXN, "time"), [], EXTRA, "['values', 'mask']", ""),
    "no values": ((*TXN, "values"), ..., "missing", "a list of steps", "not"),
    "steps": ((*TXN, "values"), 3, "list_type", "a list of steps", "3."),
    "too many": (
        (*TXN, "values"),
        [[0] * 3] * 10,
        "too_long",
        "at most 9 steps",
        "'10 of them'.",
    ),
    "step": ((*TXN, "values", 3), 1.0, "list_type", "3 numbers", "1.0."),
    "few": ((*TXN, "values", 3), [1, 2], "too_short", "3 numbers", "'2 of"),
    "many": ((*TXN, "values", 3), [1] * 4, "too_long", "3 numbers", "'4 of"),
    "value": ((*TXN, "values", 3, 2), "x", "float_type", NUMBER, "'x'."),
    "not finite": ((*TXN, "values", 3, 2), np.inf, "finite_number", NUMBER, "inf."),
    "mask": ((*TXN, "mask"), True, "list_type", "9 times true or", "True."),
    "mask value": ((*TXN, "mask", 4), 1, "bool_type", TRUE, "1."),
    "long mask": ((*TXN, "mask"), [True] * 10, "too_long", TRUE, "'10 of"),
    "short mask": ((*TXN, "mask"), [True], "too_short", TRUE, "'1 of"),
    "diagram": (("diagrams", "shorts"), [], EXTRA, "left out", "'short'?"),
    "points": (SHORT, 3, "list_type", "a list of points", "3."),
    "point": ((*SHORT, 1), [0, 1], "too_short", "3 numbers", "'2 of them'."),
    "death": ((*SHORT, 1, 1), np.inf, "finite_number", NUMBER, "inf."),
    "homology": ((*SHORT, 1, 2), 0.5, "int_type", "a whole number", "0.5."),
    "below": ((*SHORT, 1, 2), -1, "int_type", "a whole number", "-1.0."),
    "states": (("states",), 3, "list_type", "a list of 3 modes", "3."),
    "few modes": (("states",), [None] * 2, "too_short", "a list of 3 modes", "'2 of"),
    "mode": (("states", 1), [0.0] * 15, "too_short", "a list of 16 numbers", "'15 of"),
    "state": (("states", 1, 7), None, "float_type", NUMBER, "None."),
    "clusters": (("clusters",), [0.5] * 4, "too_short", "a list of 5 numbers", "'4 of"),
    "sum": (
        ("clusters",),
        [0.5, 0.5, 0.5, 0, 0],
        "value_error",
        "add up to 1",
        "[0.5,",
    ),
    "negative": (
        ("clusters",),
        [1.5, -0.5, 0, 0, 0],
        "value_error",
        "zero or more",
        "",
    ),
    "vector": (("vectors", "graf"), [], EXTRA, "left out", "'graph'?"),
    "vectors": (("vectors",), [], "dict_type", "a mapping of names", "[]."),
    "width": (
        ("vectors", "graph"),
        [0] * 8,
        "too_long",
        "a list of 7 numbers",
        "'8 of",
    ),
    "number": (("vectors", "graph", 2), "z", "float_type", NUMBER, "'z'."),
}
