"""The command line: names of commands, help, errors.

The module of a command is imported only when the command runs, so that `xnorlit --help` is fast.
"""

import errno
import importlib
import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from xnorlit.edge.names import at_home, printable
from xnorlit.errors import Stopped, UserError, did_you_mean


class Command(NamedTuple):
    """One verb: a typed function in the module of the same name.

    Attributes:
        about: Description for `xnorlit --help`.
        example: Example arguments.
        module: Module of the function, if it is not `xnorlit.commands.VERB`.
    """

    about: str
    example: str = ""
    module: str = ""

    def run(self, verb: str, argv: Sequence[str]) -> int:
        """Call the verb's function with the arguments of the command line, and return its exit status."""
        from xnorlit.commands.arguments import call

        function = getattr(importlib.import_module(f"xnorlit.commands.{self.module or verb}"), verb)
        status = call(function, argv, prog=f"xnorlit {verb}", example=f"xnorlit {verb} {self.example}")
        return status if isinstance(status, int) else 0


COMMANDS: dict[str, Command] = {
    "train": Command(
        "train one arm with the recipe for the images", "xnor --data photos/ --seed 1 --trainer.max_epochs 5"
    ),
    "fit": Command("train with configuration files: -c base.yaml -c xnor.yaml"),
    "validate": Command("measure a checkpoint on the validation split", module="fit"),
    "test": Command("measure a checkpoint on the test split", module="fit"),
    "predict": Command("write a checkpoint's predictions for the validation split", module="fit"),
    "summary": Command(
        "show a network layer by layer: bits, multiply-adds, memory",
        "--network alexnet-xnor --binarizer XNOR --classes 1000",
    ),
    "prepare": Command(
        "convert images to .beton files for the fast loader", "photos/ betons/ --shorter-side 256 --skip-bad"
    ),
    "pack": Command("pack a trained network into bits: one small file", "runs/cifar10/pair-0/xnor/seed-0 --ends int8"),
    "export": Command(
        "export a trained network to OpenVINO or ONNX", "runs/cifar10/pair-0/xnor/seed-0 --format openvino"
    ),
    "classify": Command(
        "classify pictures with a packed network",
        "cifar10-best cat.jpg holidays/",
    ),
    "web": Command("write a packed network as one HTML file that runs it in a browser", "cifar10-best --out page.html"),
    "zoo": Command(
        "list the trained networks, or add one from a run",
        "runs/cifar10/pair-0/best/seed-0 --name cifar10-best",
    ),
    "compare": Command(
        "print the table of a pair: costs and gains of binarisation",
        "runs/synthetic/pair-0/xnor/seed-0 runs/synthetic/pair-0/float/seed-0",
    ),
    "report": Command("write the page of a pair: one HTML file", "synthetic/pair-0 --bench bench.json"),
    "sync": Command("upload offline runs to W&B", "runs/cifar10"),
    "dashboard": Command("build a report and a saved view of a pair on W&B", "cifar10/pair-0"),
    "table": Command(
        "train the missing arms of an experiment and write its table", "cifar10 --data photos/ --thorough float,xnor"
    ),
    "ablate": Command("train a grid of settings (a W&B sweep file) and tabulate it", "scale-gradient --dry-run"),
    "steps": Command(
        "measure the cost of a training step of each arm",
        "runs/cifar10/pair-0/float/seed-0 runs/cifar10/pair-0/xnor/seed-0",
    ),
    "plan": Command("estimate a training on GPUs: days, cores, cost", "--gpus 8 --gpu h100 --cores 12"),
    "bench": Command(
        "measure a packed network beside torch, onnxruntime and OpenVINO",
        "packed.safetensors --json bench.json --batches 1 32",
    ),
}


def usage() -> str:
    """The text of `xnorlit --help`."""
    commands = "\n".join(f"  {name:10}{command.about}" for name, command in COMMANDS.items())
    return (
        f"xnorlit {importlib.metadata.version('xnorlit')}: train, compare and pack binary networks\n\n"
        "usage: xnorlit COMMAND [OPTIONS]      xnorlit COMMAND --help\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  --help    show this text\n"
        "  --version show the version\n"
        "  --debug   with any command: show the traceback of an error\n"
        "  --no-code with any command: refuse class paths outside xnorlit, torch and Lightning (SECURITY.md)\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Command line (default: that of this process).

    Returns:
        Exit status: 0 for success, 1 for partial success or a bug, 2 for an error that the message explains, 75 for a
        training that a signal stopped (the same command resumes it), 130 for Ctrl-C elsewhere.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in argv
    if "--no-code" in argv:
        os.environ["XNORLIT_NO_CODE"] = "1"  # Inherited by the processes that a command starts.
    argv = [_HOME.sub(_at_home, argument) for argument in argv if argument not in ("--debug", "--no-code")]
    closed = _open_standard_streams()
    try:
        with suppress(FileNotFoundError):  # the current folder was removed
            if os.getcwd() not in sys.path:  # noqa: PTH109 - pathlib is not needed for `--help`
                sys.path.append(os.getcwd())  # noqa: PTH109 - a class path of a configuration may be of a file here
        if not argv or argv[0] in ("--help", "-h", "help"):
            sys.stdout.write(usage())
            sys.stdout.flush()
            return 0
        if argv[0] == "--version":
            sys.stdout.write(f"xnorlit {importlib.metadata.version('xnorlit')}\n")
            sys.stdout.flush()
            return 0
        if argv[0] not in COMMANDS:
            near = did_you_mean(argv[0], COMMANDS)
            raise UserError(f"unknown command {argv[0]}.{near} Known: {', '.join(COMMANDS)}. See xnorlit --help.")
        if closed and argv[0] in _ANSWERING:
            raise UserError(
                f"standard output is closed, but {argv[0]} prints its result there. Redirect it to a file: > FILE."
            )
        if os.environ.get("XNORLIT_NO_CODE"):
            importlib.import_module("xnorlit.runs.trust").refuse_code_in_argv(argv[1:])
        status = COMMANDS[argv[0]].run(argv[0], argv[1:])
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        return _report(error)
    return status


_ANSWERING = ("classify", "compare", "steps", "summary")
"""Commands that only print."""

_HOME = re.compile(r"^(--?[\w.-]+=)?(~[^/]*)(?=/|$)")


def _at_home(found: re.Match[str]) -> str:
    """Expand `~` and `~user`, also after a `=`, where the shell does not."""
    return f"{found[1] or ''}{at_home(found[2])}"


def _open_standard_streams() -> bool:
    """Connect closed standard streams to the null device; return whether standard output was closed.

    Otherwise the next opened file would get the stream's descriptor, and a library's prints would end up in that file.
    """
    silent = sys.stdout is None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    return silent


def _report(error: BaseException) -> int:
    """Print one message, and return the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, Stopped):
        sys.stderr.write(f"stopped: {error}\n")
        return error.status
    if isinstance(error, BrokenPipeError):  # The reader has closed the pipe, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, UserError):
        message, status = str(error), 2
    elif isinstance(error, OSError) and error.errno is not None:
        message, status = _os_error(error), 2
    else:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        message, status = (f"unexpected {what}. Please report it, with the traceback that --debug prints."), 1
    sys.stderr.write(f"error: {printable(message)}\n")
    return status


def _os_error(error: OSError) -> str:
    """`runs/cifar10: permission denied. Expected ...` for an error of the operating system."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, "Run the command again with --debug to see the traceback.")
    return f"{where}{(error.strerror or str(error)).lower()}. {remedy}"


_REMEDIES = {
    errno.EACCES: "Change the permissions, or give another path.",
    errno.EPERM: "Change the permissions, or give another path.",
    errno.EROFS: "This file system is read-only. Give another path.",
    errno.ENOSPC: "Free some space there, or give another path.",
    errno.EDQUOT: "Free some of your quota there, or give another path.",
    errno.ENOENT: "Check the path.",
    errno.EEXIST: "Expected a folder or an unused name. Give another path.",
    errno.ENOTDIR: "Expected a folder. Check the path.",
    errno.EISDIR: "Expected a file. Check the path.",
    errno.EMFILE: "Allow more open files (ulimit -n), or use fewer workers (--data.workers).",
}


if __name__ == "__main__":
    sys.exit(main())
