"""Settings: the configuration files of a command line, their content, and their combination."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from xnorlit.errors import UserError, did_you_mean
from xnorlit.runs.config import load_yaml
from xnorlit.runs.moved import with_current_paths
from xnorlit.runs.recipes import located

_FILES = ("-c", "--config")


def config_files(argv: Sequence[str]) -> Iterator[Path]:
    """The files given as `-c FILE`, `--config FILE` or `--config=FILE`, in order."""
    yield from (Path(file) for _, _, file in values(argv, _FILES))


def with_recipes(argv: Sequence[str]) -> list[str]:
    """The command line, with each `-c experiments/...` replaced by the file that `located` finds."""
    found = list(argv)
    for index, option, file in values(argv, _FILES):
        found[index] = f"{option}{located(Path(file))}"
    return found


def values(argv: Sequence[str], options: Collection[str]) -> Iterator[tuple[int, str, str]]:
    """Each value of some options, `--name VALUE` or `--name=VALUE`: its argument's index, the prefix there, the value.

    Args:
        argv: The command line.
        options: The options with their dashes.
    """
    for index, argument in enumerate(argv):
        option, sign, value = argument.partition("=")
        if option in options and sign:
            yield index, f"{option}=", value
        elif option in options and index + 1 < len(argv):
            yield index + 1, "", argv[index + 1]


def given(argv: Sequence[str], name: str) -> str | None:
    """The last value of an option on a command line (`--name VALUE` or `--name=VALUE`), or None.

    Args:
        argv: The command line.
        name: The option without its dashes, such as `model.network`.
    """
    found = [value for _, _, value in values(argv, (f"--{name}",))]
    return found[-1] if found else None


def read_config(file: Path) -> dict[str, Any]:
    """The content of a configuration file. A file named `experiments/...` may be a packaged recipe.

    Raises:
        UserError: The file is missing, or is not a YAML file of `key: value` lines.
    """
    file = located(file)
    expected = "Expected a YAML file of settings, such as experiments/cifar10/base.yaml"
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        near = did_you_mean(file.stem, [each.stem for each in file.parent.glob("*.yaml")]).replace("?", ".yaml?")
        raise UserError(f"the configuration file {file} {what}.{near} {expected}.")
    try:
        config = with_current_paths(load_yaml(file.read_text(encoding="utf-8")))
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text file. {expected}.") from error
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-13-45
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{file} is not YAML{where}: {getattr(error, 'problem', error)}. {expected}.") from error
    if not isinstance(config, dict):
        raise UserError(
            f"{file} contains no settings. {expected}, with lines like `model:` and, indented, `network: …`."
        )
    return config


def merged(files: Iterable[Path]) -> dict[str, Any]:
    """The combination of several files. Later files override earlier ones, key by key.

    Another `class_path` drops the settings of the class that it replaces.

    Raises:
        UserError: See `read_config`.
    """
    whole: dict[str, Any] = {}
    for file in files:
        whole = _overridden(whole, read_config(file))
    return whole


def _overridden(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        return dict(above)
    both = {key: value for key, value in below.items() if isinstance(value, dict) and isinstance(above.get(key), dict)}
    return {**below, **above, **{key: _overridden(value, above[key]) for key, value in both.items()}}
