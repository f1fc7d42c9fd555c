"""One parser of `xnorlit fit` for many runs: a process builds it once, as `xnorlit.commands.resolve` does."""

from collections.abc import Callable
from functools import cache
from typing import Any

from xnorlit.commands.fit import XnorlitCLI
from xnorlit.commands.resolve import _Resolver

_BUILD = XnorlitCLI.setup_parser
_PARTS = "parser", "_subcommand_parsers", "_subcommand_method_arguments"


@cache
def built() -> _Resolver:
    """What a command without arguments has built; a fork that follows has it, too."""
    return _Resolver()


def share_parser(put: Callable[[type, str, Any], None] = setattr) -> None:
    """Let every `xnorlit fit` of this process read its words with one parser.

    Args:
        put: `monkeypatch.setattr` in a test; `setattr` in a fork.
    """
    parts = {name: getattr(built(), name) for name in _PARTS}

    def reuse(cli: XnorlitCLI, *given: Any) -> None:
        if cli._command == "fit":
            vars(cli).update(parts)
        else:
            _BUILD(cli, *given)

    put(XnorlitCLI, "setup_parser", reuse)
