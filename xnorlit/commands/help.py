"""The first screen of the help of fit, validate, test and predict, before Lightning's hundreds of options."""

from typing import Any

from jsonargparse import DefaultHelpFormatter

from xnorlit.binarize import binarizers

_OF_A_RUN = "-c RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt"
_ABOUT = {
    "fit": (
        "Train one arm of a pair, and store the run in runs/EXPERIMENT/PAIR/ARM/seed-N.\n"
        "Later files and options override earlier ones. xnorlit train chooses the files for you.",
        "-c experiments/cifar10/base.yaml -c experiments/cifar10/xnor.yaml --trainer.max_epochs 5",
    ),
    "validate": (
        "Measure the accuracy of a checkpoint (or, with --packed FILE, of a packed network) on the validation split.",
        _OF_A_RUN,
    ),
    "test": ("Measure the accuracy of a checkpoint on the test split, or on val if there is no test split.", _OF_A_RUN),
    "predict": ("Write the five likeliest classes of each validation image, computed by a checkpoint.", _OF_A_RUN),
}
_MORE = """Settings: --run.* (where the run is stored), --model.* (network, binarizer, optimizer), --data.* (images) and
--trainer.* (Lightning's Trainer). --model.binarizer.help lists the binarizers; --model.binarizer.help XNOR lists the
settings of XNOR. --print_config prints the resolved configuration and exits."""


class Formatter(DefaultHelpFormatter):
    """A formatter that keeps the line breaks of a description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.splitlines())


def beginning(command: str) -> dict[str, Any]:
    """Usage and description of a command, as settings of its parser."""
    about, example = _ABOUT[command]
    return {
        "usage": f"xnorlit {command} -c FILE [-c FILE ...] [--SETTING VALUE ...]",
        "description": f"{about}\n\nExample: xnorlit {command} {example}\n\n{_MORE}",
    }


def binarizer_list(command: str) -> str:
    """One line for each binarizer: its name and the first line of its docstring."""
    known = binarizers()
    width = max(map(len, known)) + 2
    about = {name: next(iter((cls.__doc__ or "").strip().splitlines()), "") for name, cls in known.items()}
    lines = [f"  {name:{width}}{line}".rstrip() for name, line in about.items()]
    return "\n".join(
        [
            "binarizers (--model.binarizer NAME):",
            *lines,
            "",
            f"Settings of one: xnorlit {command} --model.binarizer.help NAME\n",
        ]
    )
