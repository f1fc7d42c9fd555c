"""Exceptions meant for users."""

from collections.abc import Iterable


class UserError(ValueError):
    """An error that the user can fix: the message says what was given, what was expected and what to do.

    The command line prints the message alone and exits with status 2; `--debug` shows the traceback. In Python it is a
    `ValueError`.

    Examples:
        >>> import xnorlit as xl
        >>> try:
        ...     xl.create("alexnet-xnr", binarizer="XNOR", classes=10)
        ... except xl.UserError as error:
        ...     print(str(error).partition(" Known")[0])
        no network named alexnet-xnr. Did you mean alexnet-xnor?
    """


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to end and did; the message says what was saved and how to continue.

    The command line exits with status 75 (EX_TEMPFAIL), which asks a scheduler to run the same command again.
    """

    status = 75


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`" Did you mean XNOR?"` for the nearest known name; empty if none is near.

    Args:
        given: The name that was not found.
        known: The names that exist.
    """
    near = nearest(given, known)
    return f" Did you mean {near}?" if near else ""


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to a name that was not found, or None if none is near.

    Of dotted names, such as the options `--trainer.max_epochs` and `--data.seed`, one with the same last part is the
    nearest, then one with the same parents; `--max_epochs` and `--trainer.max_epocs` both find the first.

    Args:
        given: The name that was not found.
        known: The names that exist; letter case is ignored in the search.
    """
    return _nearest(given.casefold(), {name.casefold(): name for name in known})


def _nearest(given: str, known: dict[str, str]) -> str | None:
    import difflib  # Imported here, because most commands need no suggestion and some start fast.

    parents, leaf = _split(given)
    siblings: dict[str, str] = {}
    for folded, name in known.items():
        other, last = _split(folded)
        if last == leaf:
            return name
        if other == parents:
            siblings[last] = name
    begun = [name for last, name in siblings.items() if len(leaf) > 2 and last.startswith(leaf)]
    if begun:
        return begun[0]
    last = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.5)
    if last:
        return siblings[last[0]]
    whole = difflib.get_close_matches(given, known, n=1, cutoff=0.8)
    return known[whole[0]] if whole else None


def _split(name: str) -> tuple[str, str]:
    """Parents and last part, without an option's dashes."""
    parents, _, leaf = name.lstrip("-").rpartition(".")
    return parents, leaf
