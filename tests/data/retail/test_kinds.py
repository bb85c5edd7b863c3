"""Kinds of goods, by hand on a few descriptions."""

import pytest

from ple_study.data.retail.kinds import Kinds, words

BAGS = ["RED LUNCH BAG", "LUNCH BAG SPOTS", "PINK LUNCH BAGS", "STORAGE BAG", "BAG"]
TINS = ["CAKE TIN", "SET OF 3 CAKE TINS", "ROUND CAKE TIN", "BISCUIT TIN BLUE", "TIN"]
BIRDS = ["BAG BIRD", "BIRD", "GLASS BIRD", "BIRD", "BIRD", "BIRD"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SET OF 3 CAKE TINS PANTRY DESIGN", ["CAKE", "TIN", "PANTRY", "DESIGN"]),
        ("white T-Light holder", ["WHITE", "TLIGHT", "HOLDER"]),
        ("4 T LIGHTS S/4", ["TLIGHT"]),
        ("DOOR MAT UNION FLAG", ["DOORMAT", "UNION", "FLAG"]),
        ("SET OF KNITTING NEEDLES", ["KNITTING", "NEEDLE"]),
        ("STORAGE BOXES, GLASSES", ["STORAGE", "BOX", "GLASS"]),
        ("CHRISTMAS DRESS PACK OF 6", ["CHRISTMAS", "DRESS"]),
        ("72 BUS-STOPS", ["BUS", "STOP"]),
        ("12", []),
    ],
)
def test_words_are_singular_and_uncounted(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


def test_a_kind_is_the_word_that_ends_the_most_descriptions() -> None:
    kinds = Kinds.fit([*BAGS, *TINS, *BIRDS, "OWL LAMP"])
    assert kinds.ends == {"BAG": 5, "TIN": 5, "BIRD": 6}
    assert kinds.of("LUNCH BAG WOODLAND") == ("BAG", "LUNCH BAG")
    assert kinds.of("STORAGE BAG SKULLS") == ("BAG", "BAG")  # one description alone
    assert kinds.of("JUMBO BAG RED") == ("BAG", "BAG")  # no finer kind by its size
    assert kinds.of("BIRD BAG") == ("BIRD", "BIRD")  # ends more
    assert kinds.of("TIN BAG") == ("BAG", "BAG")  # as many: the later
    assert kinds.of("OWL LAMP") == (None, None)  # ends too few
    assert kinds.of("") == (None, None)


def test_five_descriptions_make_a_kind_and_three_a_finer_one() -> None:
    few = Kinds.fit(BAGS[:4])
    assert few.ends == {}
    assert Kinds.fit(BAGS).pairs == {("LUNCH", "BAG")}
    assert Kinds.fit([*BAGS[1:], "BAG"]).pairs == set()
