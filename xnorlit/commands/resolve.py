"""`python -m xnorlit.commands.resolve`: resolve many command lines of `xnorlit fit` in one process.

It reads a JSON list of command lines, each a list of arguments, from standard input. It prints a JSON list with
`{"config": ...}`, as a run would record it, or `{"error": ...}` for each. It does not train, and reads no images.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
import yaml
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from typing_extensions import override

from xnorlit.commands.fit import XnorlitCLI
from xnorlit.commands.wording import quiet
from xnorlit.errors import UserError
from xnorlit.training.module import Classifier
from xnorlit.training.place import RunPlace


class _Resolver(XnorlitCLI):
    """The parser of `xnorlit fit`, without its execution."""

    def __init__(self) -> None:
        super().__init__("fit")

    @override
    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Record the command when the parser is created; parse nothing."""
        self.config = {"subcommand": "fit"}

    @override
    def _set_seed(self) -> None: ...

    @override
    def before_instantiate_classes(self) -> None: ...

    @override
    def instantiate_classes(self) -> None: ...

    @override
    def _run_subcommand(self, subcommand: str) -> None: ...

    def configuration(self, argv: Sequence[str]) -> dict[str, Any]:
        """The configuration that a run of this command line would record.

        Args:
            argv: Arguments of `xnorlit fit`.

        Raises:
            UserError: The command line is refused, or the network cannot be built.
        """
        sys.argv[1:] = ["fit", *argv]
        super().parse_arguments(self.parser, None)
        config = self.config["fit"]
        RunPlace(**config.run.as_dict()).at(config.seed_everything)
        _build(self.parser.instantiate(self.config)["fit"].model, config.data.get("image_size"))
        return yaml.safe_load(self.resolve(config))


def _build(model: Classifier, image_size: int | None) -> None:
    """Build the network without values, so that an impossible one is refused now, not when its run starts."""
    with torch.device("meta"):
        model.spec.build(classes=2, image_size=image_size)


def resolved(lines: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """`{"config": ...}` or `{"error": ...}` of each command line.

    Args:
        lines: The arguments of `xnorlit fit` in each command line.
    """
    quiet()
    resolver = _Resolver()
    answers = []
    for argv in lines:
        try:
            answers.append({"config": resolver.configuration(argv)})
        except (UserError, MisconfigurationException) as error:
            answers.append({"error": str(error)})
    return answers


if __name__ == "__main__":
    sys.stdout.write(json.dumps(resolved(json.load(sys.stdin))) + "\n")
