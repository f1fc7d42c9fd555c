"""What a binary training step costs: the time of each arm's step over the float twin's.

    python benchmarks/step.py [--network alexnet-small] [--batch 64] [--rounds 15] [--arms ARM ...] [--json FILE]

A step is what training repeats: forward, loss, backward, Adam, and what the binarizer does to its latent weights
afterwards; on made-up uint8 images, channels last. The arms share network, batch and threads.

In every round each arm takes some steps in turn, in an order that rotates, so that a slow minute of the machine hits
all of them. Reported is the median over the rounds of arm / float in the same round, with its quartiles.

- float: the float twin
- bwn: binary weights, real inputs; `ste` gradient, latent weights clamped (the arm of the cifar10 recipe)
- xnor-ste: binary weights and inputs; `ste` gradient, latent weights clamped (the arm of the cifar10 recipe)
- xnor: as it is by default: corrected gradient, latent weights centred and clamped
- xnor-k: xnor-ste, and the input scale K
- DoReFa, IRNet, ...: any binarizer by its name, as it is by default, with the optimizer that it needs
"""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from xnorlit.bench.figures import Figure, ratio
from xnorlit.bench.turns import Call, Samples
from xnorlit.binarize import Binarizer, binarizers
from xnorlit.binarize.bwn import BWN
from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR
from xnorlit.commands.steps import seconds_of
from xnorlit.layers import attach
from xnorlit.models import AlexNet, Network, build, network_named
from xnorlit.training.bop import Bop
from xnorlit.training.environment import environment

ARMS: dict[str, Binarizer] = {
    "float": Float(),
    "bwn": BWN(gradient="ste", center=False),
    "xnor-ste": XNOR(gradient="ste", center=False),
    "xnor": XNOR(),
    "xnor-k": XNOR(gradient="ste", center=False, input_scale="K"),
}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Measures and prints a table for each precision."""
    options = parse()
    torch.set_num_threads(options.threads)
    network = network_named(options.network)
    measured = {
        precision: seconds_of(
            {arm: training(network, binarizer(arm), options, PRECISIONS[precision]) for arm in options.arms},
            options.rounds,
            options.steps,
        )
        for precision in options.precision
    }
    report(measured, options)


def parse() -> argparse.Namespace:
    """The command line; the float arm is always among the arms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="alexnet-small")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=5, help="steps that an arm takes in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *binarizers()], default=list(ARMS), metavar="ARM")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="P")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.arms = list(dict.fromkeys(["float", *options.arms]))
    return options


def binarizer(arm: str) -> Binarizer:
    """The arm's settings; a binarizer's own defaults where the arm is its name."""
    return ARMS[arm] if arm in ARMS else binarizers()[arm]()


def adam(model: AlexNet) -> torch.optim.Optimizer:
    """Adam, or Bop where weights are flipped."""
    flipped = [layer.weight for _, layer in model.layers() if layer.binarizer.flips]
    if not flipped:
        return torch.optim.Adam(model.parameters(), 1e-3)
    known = {id(weight) for weight in flipped}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return Bop([{"params": others}, {"params": flipped, "flips": True}], 1e-3)


def training(network: Network, binarizer: Binarizer, options: argparse.Namespace, dtype: torch.dtype) -> Call:
    """An arm as a function that takes one training step."""
    torch.manual_seed(0)
    model = build(network, binarizer, classes=options.classes, image_size=network.image_size)
    model.to(memory_format=torch.channels_last)
    optimizer = adam(model)
    attach(optimizer, model)
    shape = (options.batch, 3, network.image_size, network.image_size)
    images = torch.randint(256, shape, dtype=torch.uint8).to(memory_format=torch.channels_last)
    labels = torch.randint(options.classes, (options.batch,))

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(model(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def summary(seconds: Samples) -> dict[str, dict[str, float]]:
    """For each arm the median step in milliseconds, and median and quartiles of its ratio to the float arm."""
    result = {}
    for arm, times in seconds.items():
        cost = ratio(times, seconds["float"])
        quartiles = {"lower_quartile": cost.lower, "upper_quartile": cost.upper}
        result[arm] = {"step_ms": 1000 * Figure.of(times).median, "ratio": cost.median, **quartiles}
    return result


def report(measured: dict[str, Samples], options: argparse.Namespace) -> None:
    """Prints what was measured and where, and writes the JSON that was asked for."""
    console = Console()
    run = environment(backend="made-up images")
    machine = {
        "processor": f"{run['cpu']}, {torch.backends.cpu.get_cpu_capability()}",
        "torch": run["packages"]["torch"],
        "threads": run["threads"],
        "commit": run["git"]["commit"],
        "command": run["command"],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "unset"),
    }
    for name, value in machine.items():
        console.print(f"{name}: {value}", highlight=False)
    summaries = {precision: summary(seconds) for precision, seconds in measured.items()}
    table = Table(
        title=f"Training step of {options.network}, batch {options.batch}: {options.rounds} rounds of {options.steps}"
    )
    for heading in ("precision", "arm", "step, ms", "x float", "quartiles"):
        table.add_column(heading, justify="left" if heading in ("precision", "arm") else "right")
    for precision, arms in summaries.items():
        for arm, row in arms.items():
            spread = f"{row['lower_quartile']:.3f} - {row['upper_quartile']:.3f}"
            table.add_row(precision, arm, f"{row['step_ms']:.1f}", f"{row['ratio']:.3f}", spread)
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps({**machine, "steps": summaries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
