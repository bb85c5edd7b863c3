"""What kind of thing a product is: two words of its description.

The shop has no categories. It names a thing by a noun, the design before or behind it:
LUNCH BAG WOODLAND, WHITE HANGING HEART T-LIGHT HOLDER. So the kind of a product is the
word of its description that ends the most descriptions among those known, BAG, HOLDER;
words for a colour, a size, a material or a pattern (``DESIGNS``) name no thing and are
passed over. The kind with the word before it is the finer one: LUNCH BAG. Which words
end how many descriptions is counted before the first cut-off.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

LEAST = 5  # descriptions that a word must end to be a kind
PAIRS = 3  # descriptions that a finer kind must be found in
_DESIGNS = """
amber and antique art assorted asst asstd baroque big black blue bronze brown butterfly
by ceramic charlie chocolate christmas circus clear cm col colour coloured copper cream
crystal dark de deco design diamante dolly easter edwardian enamel english fairy flock
floral flower folk for french funky gingham girl glass glitter gold grand green grey
hand heart home in ivory jumbo lace large leaf lilac lola london love lovely medium
metal mini multi multicolour natural of on or orange pack paisley paper party pastel pc
pcs piece pink plastic polkadot porcelain purple rainbow red regency retro retrospot
rose round row scandinavian set shape shaped silver skull small spaceboy spot spotty
square star strawberry stripe striped tall the to toadstool turquoise union vintage
white with wood wooden woodland yellow zinc
"""
DESIGNS = frozenset(_DESIGNS.upper().split())
_COUNTED = re.compile(
    r"\b(?:SET|PACK|BOX|PAIR|S|P)\s*(?:OF\s*|/\s*)\d+\b"
    r"|^(?:SET|PACK|BOX|PAIR) OF "
)


class Kinds(NamedTuple):
    """The words that are kinds, by how many descriptions each ends, and the pairs."""

    ends: dict[str, int]
    pairs: Collection[tuple[str, str]]

    @classmethod
    def fit(cls, descriptions: Iterable[str]) -> "Kinds":
        """Count words in the descriptions of the products that are known, one each."""
        known = [words(text) for text in descriptions]
        things = [[word for word in text if word not in DESIGNS] for text in known]
        ends = Counter(text[-1] for text in things if text)
        kept = {word: count for word, count in ends.items() if count >= LEAST}
        found = Counter(cls(kept, ())._pair(text) for text in known)
        return cls(kept, {p for p, n in found.items() if p and n >= PAIRS})

    def of(self, description: str) -> tuple[str | None, str | None]:
        """Kind and finer kind: the kind itself where no word says more; or None twice.

        Of two words that end equally many descriptions the later one is the kind.
        """
        text = words(description)
        kind, pair = self._kind(text), self._pair(text)
        return kind, " ".join(pair) if pair and pair in self.pairs else kind

    def _kind(self, text: list[str]) -> str | None:
        known = [word for word in reversed(text) if word in self.ends]
        return max(known, key=lambda word: self.ends[word], default=None)

    def _pair(self, text: list[str]) -> tuple[str, str] | None:
        kind = self._kind(text)
        place = len(text) - 1 - text[::-1].index(kind) if kind else 0
        before = text[place - 1] if place else ""
        return (before, kind) if kind and before and before not in DESIGNS else None


def words(description: str) -> list[str]:
    """The words of a description in the singular, without numbers and set sizes.

    T-LIGHT is one word, and so is DOOR MAT. SET OF 3 CAKE TINS is CAKE, TIN.
    """
    text = re.sub(r"\b(T|DOOR)[ -]?(LIGHT|MAT)", r"\1\2", description.upper())
    found = re.findall(r"[A-Z']{2,}", _COUNTED.sub(" ", text))
    return [_single(word) for word in found]


def _single(word: str) -> str:
    if re.search(r"(?:X|CH|SH|SS)ES$", word):
        return word[:-2]
    ends = word.endswith("S") and not word.endswith(("SS", "MAS", "US"))
    return word[:-1] if ends and len(word) > 3 else word
