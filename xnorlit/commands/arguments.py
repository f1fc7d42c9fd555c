"""Command lines of typed functions: the signature is the parser, the docstring is the help."""

import argparse
import inspect
import re
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from xnorlit.errors import UserError, did_you_mean

_METAVARS = {Path: "PATH", str: "NAME"}
_WORDS = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Range:
    """The range of an annotated number: `Annotated[int, Range(1)]`.

    Args:
        least: The smallest valid value.
        most: The largest valid value; None for no limit.
    """

    least: int
    most: int | None = None

    def __str__(self) -> str:
        return f"{self.least} to {self.most}" if self.most is not None else f"{self.least} or more"

    def __contains__(self, value: float) -> bool:
        return value >= self.least and (self.most is None or value <= self.most)


Count = Annotated[int, Range(1)]


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises `UserError` instead of exiting, and accepts `--a_b` for `--a-b`."""

    def __init__(self, prog: str, description: str, example: str) -> None:
        super().__init__(prog=prog, description=description, epilog=f"Example: {example}", allow_abbrev=False)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Replace underscores in option names by dashes, then parse."""
        return super().parse_known_args(None if args is None else [self._dashed(word) for word in args], namespace)

    def _dashed(self, word: str) -> str:
        name, sign, value = word.partition("=")
        dashed = name.replace("_", "-")
        return f"{dashed}{sign}{value}" if dashed in self._option_string_actions else word

    def error(self, message: str) -> NoReturn:
        """Raise the message as a UserError."""
        unknown = re.match(r"unrecognized arguments: (-[^\s=]+)", message)
        if unknown:
            near = did_you_mean(unknown[1], self._option_string_actions)
            message = f"{self.prog} has no option {unknown[1]}.{near}"
        else:
            message = f"{message}."
        raise UserError(f"{message} See {self.prog} --help.")


def goes_with(needed: str, given: object, **options: object) -> None:
    """Refuse options that count only beside another one.

    Args:
        needed: The other option, and what it does if that tells why.
        given: Whether it is given, or its value.
        options: Values by the name of the parameter; None, False and empty ones are not given.

    Raises:
        UserError: An option is given without the other.
    """
    alone = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, False, (), [])]
    if alone and not given:
        raise UserError(f"{alone[0]} goes with {needed}.")


def call(function: Callable[..., Any], argv: Sequence[str], *, prog: str, example: str) -> Any:
    """Call a function with the arguments of a command line, and return its result.

    Keyword-only parameters are options: `skip_bad` becomes `--skip-bad`, a bool that is False by default is a flag, and
    a sequence takes several values. All other parameters are positional arguments; those with a default are optional.
    `*further` takes the arguments that match no option. A function with `*further` alone parses its arguments itself.

    Args:
        function: A function with a Google docstring. Each annotation is str, int, float, bool, Path, a `Literal` of
            strings, or a number with a `Range`; or a sequence of one of these; or one of these or None.
        argv: Arguments after the command's name.
        prog: Name of the command, for its help.
        example: A whole command line, for its help.

    Raises:
        UserError: The arguments do not fit the signature.
    """
    parameters = inspect.signature(function).parameters
    further = next((name for name, each in parameters.items() if each.kind is each.VAR_POSITIONAL), None)
    if [further] == list(parameters):
        return function(*argv)
    asked = not {"-h", "--help"}.isdisjoint(argv)
    parser = parser_of(function, prog=prog, example=example, explained=asked)
    try:
        known, left = parser.parse_known_args(argv) if further else (parser.parse_args(argv), [])
    except SystemExit:  # after --help
        return None
    # argparse would append the given values to a default sequence, so it does not know that default.
    values = {name: parameters[name].default if value is None else value for name, value in vars(known).items()}
    positional = [values.pop(name) for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    return function(*positional, *left, **values)


def parser_of(function: Callable[..., Any], *, prog: str, example: str, explained: bool = True) -> Parser:
    """The parser of a function's arguments.

    Args:
        function: See `call`.
        prog: Name of the command, for its help.
        example: A whole command line, for its help.
        explained: Whether to parse the docstring for the help; this takes time.
    """
    summary, about = _docstring(function) if explained else ("", {})
    hints = get_type_hints(function, include_extras=True)
    parser = Parser(prog, summary, example)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            parser.description = f"{parser.description} {about.get(name, '')}".strip()
        elif parameter.kind is parameter.KEYWORD_ONLY:
            _add_option(parser, name, hints[name], parameter.default, about.get(name, ""))
        else:
            _add_positional(parser, name, hints[name], parameter.default, about.get(name, ""))
    return parser


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The descriptions of the function and of each argument in a docstring."""
    import docstring_parser  # Imported here, because only the help needs it.

    text = docstring_parser.parse(function.__doc__ or "")
    about = {each.arg_name.lstrip("*"): (each.description or "").replace("%", "%%") for each in text.params}
    return " ".join(filter(None, (text.short_description, text.long_description))), about


def _add_positional(parser: Parser, name: str, hint: Any, default: Any, about: str) -> None:
    kind, several, limits = _plain(hint)
    required = default is inspect.Parameter.empty
    if several:
        metavar, count = name.upper().removesuffix("S"), {"nargs": "+" if required else "*"}
    else:
        metavar, count = name.upper(), {} if required else {"nargs": "?", "default": default}
    parser.add_argument(name, metavar=metavar, type=_reader(kind, limits), help=about, **count)


def _add_option(parser: Parser, name: str, hint: Any, default: Any, about: str) -> None:
    kind, several, limits = _plain(hint)
    option = f"--{name.replace('_', '-')}"
    shown = " ".join(map(str, default)) if several else default
    about = about if shown in (None, "", False) else f"{about.removesuffix('.')} (default: {shown})."
    if kind is bool:
        parser.add_argument(option, action="store_true", help=about)
    elif get_origin(kind) is Literal:
        parser.add_argument(option, choices=get_args(kind), default=default, help=about)
    else:
        # `-c` is repeated, as in LightningCLI: `-c base.yaml -c xnor.yaml`. Other options list their values.
        names = ("-c", option) if name == "config" else (option,)
        how = {"nargs": "+", "action": "extend"} if several else {"default": default}
        parser.add_argument(
            *names, metavar=_METAVARS.get(kind, "N"), type=_reader(kind, limits), help=about, dest=name, **how
        )


def _plain(hint: Any) -> tuple[Any, bool, Range | None]:
    """Type, whether it is a sequence, and range: `(int, False, None)` for `int | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    origin = get_origin(hint)  # not a class for Literal and, from Python 3.13, for Annotated
    if isinstance(origin, type) and issubclass(origin, Sequence):
        kind, _, limits = _plain(get_args(hint)[0])
        return kind, True, limits
    if hasattr(hint, "__metadata__"):
        return get_args(hint)[0], False, next((each for each in hint.__metadata__ if isinstance(each, Range)), None)
    return hint, False, None


def _reader(kind: Callable[[str], Any], limits: Range | None) -> Callable[[str], Any]:
    """A function that converts a string to a value within limits. Its error says what it expected."""

    def read(word: str) -> Any:
        expected = _WORDS.get(kind, getattr(kind, "__name__", str(kind)))
        if limits is not None:
            expected = f"{expected}, {limits}"
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or (limits is not None and value not in limits):
            raise argparse.ArgumentTypeError(f"expected {expected}, not {word!r}")
        return value

    return read
