"""Command lines of typed functions, and parsers whose complaints suggest the nearest option."""

import argparse
import inspect
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from xnorlit.errors import UserError, did_you_mean

_METAVARS = {Path: "FILE", str: "NAME"}
_WORDS = {int: "a whole number", float: "a number"}


class Parser(argparse.ArgumentParser):
    """argparse that raises `UserError` in place of leaving the process, and takes `--a_b` for `--a-b`."""

    def __init__(self, prog: str, description: str, example: str) -> None:
        super().__init__(prog=prog, description=description, epilog=f"Example: {example}", allow_abbrev=False)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """The namespace and what was left, dashes put in place first."""
        return super().parse_known_args(None if args is None else [self._dashed(word) for word in args], namespace)

    def _dashed(self, word: str) -> str:
        name, sign, value = word.partition("=")
        dashed = name.replace("_", "-")
        return f"{dashed}{sign}{value}" if dashed in self._option_string_actions else word

    def error(self, message: str) -> NoReturn:
        """Raises what the command line prints."""
        unknown = re.match(r"unrecognized arguments: (-[^\s=]+)", message)
        if unknown:
            near = did_you_mean(unknown[1], self._option_string_actions)
            message = f"{self.prog} has no option {unknown[1]}.{near}"
        else:
            message = f"{message}."
        raise UserError(f"{message} See {self.prog} --help.")


def call(function: Callable[..., object], words: Sequence[str], *, prog: str, example: str) -> None:
    """Calls a function with the words of a command line; its signature is the parser, its docstring the help.

    Parameters that are not keyword-only are positional words, of which one with a default may be left out. The others
    are options: `skip_bad` is `--skip-bad`, and a bool that is False by default is a flag.

    Args:
        function: Annotated with str, int, float, bool, Path or a Literal of words, or one of them or None; with a
            Google docstring.
        words: What follows the command's name.
        prog: The command, for its help.
        example: A whole command line, for its help.

    Raises:
        UserError: The words do not fit the signature.
    """
    parser = parser_of(function, prog=prog, example=example)
    try:
        known = parser.parse_args(words)
    except SystemExit:  # after --help
        return
    function(**vars(known))


def parser_of(function: Callable[..., object], *, prog: str, example: str) -> Parser:
    """The parser of a function's arguments.

    Args:
        function: See `call`.
        prog: The command, for its help.
        example: A whole command line, for its help.
    """
    import docstring_parser  # Not at the top: a command that starts fast has none to read.

    text = docstring_parser.parse(function.__doc__ or "")
    about = {each.arg_name: (each.description or "").replace("%", "%%") for each in text.params}
    hints = get_type_hints(function)
    parser = Parser(prog, " ".join(filter(None, (text.short_description, text.long_description))), example)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, option = _plain(hints[name]), f"--{name.replace('_', '-')}"
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            optional = {} if parameter.default is inspect.Parameter.empty else {"nargs": "?"}
            parser.add_argument(name, metavar=name.upper(), type=reader(kind), help=about.get(name), **optional)
        elif get_origin(kind) is Literal:
            about_default = f"{about.get(name, '')} (default: {parameter.default})"
            parser.add_argument(option, choices=get_args(kind), default=parameter.default, help=about_default)
        elif kind is bool:
            parser.add_argument(option, action="store_true", help=about.get(name))
        else:
            default = "" if parameter.default is None else f" (default: {parameter.default})"
            parser.add_argument(
                option,
                metavar=_METAVARS.get(kind, "N"),
                type=reader(kind),
                default=parameter.default,
                help=about.get(name, "") + default,
            )
    return parser


def _plain(hint: Any) -> Any:
    """`int` of `int` and of `int | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    return hint


def reader(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """What reads a word as a kind of value and complains in words.

    Args:
        kind: int, float, str or Path.
    """

    def read(word: str) -> Any:
        try:
            return kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {_WORDS.get(kind, kind)}, not {word!r}") from None

    return read
