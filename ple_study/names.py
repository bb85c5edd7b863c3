"""Names that must be known, or used once: a wrong one is refused at the door."""

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches


def nearest(found: object, known: Iterable[object]) -> str:
    """A question to end an error with: the known name that ``found`` resembles.

    Empty where none does.

    >>> nearest("jorney", ["census", "journey"])
    " Did you mean 'journey'?"
    """
    names = {str(name): name for name in known}
    close = get_close_matches(str(found), names, n=1)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


def one_of(what: str, found: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError when ``found`` is no allowed name."""
    if found not in allowed:
        raise ValueError(
            f"{what} must be one of {allowed}. Found {found!r}."
            f"{nearest(found, allowed)}"
        )


def unique(what: str, names: Iterable[object]) -> None:
    """Raises ValueError when a name is there twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} must be unique. Found more than once: {twice[:5]}.")
