"""The one exception that is meant for the person at the keyboard."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: the message says what was given, what was expected and what to do.

    The command line prints the message alone and exits with status 2; `--debug` shows the traceback.
    """


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`" Did you mean XNOR?"` for the nearest of the known names, or nothing when none is near.

    Args:
        given: The name that was not found.
        known: The names that exist; letter case is ignored in the search.
    """
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(given.casefold(), by_folded, n=1, cutoff=0.5)
    return f" Did you mean {by_folded[near[0]]}?" if near else ""
