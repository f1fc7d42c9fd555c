"""Estimates the cost of a training on GPUs by arithmetic over stated assumptions; nothing was measured on them."""

from dataclasses import dataclass
from typing import Literal

Part = Literal["computing", "memory", "gradient exchange", "loader"]

PASSES = 3  # the forward pass, the gradient of the inputs and that of the weights: products of equal size
OPTIMIZER_BYTES = 4 * 7  # Adam in fp32 reads weight, gradient and two moments, and writes weight and two moments
DECODED = 1804.0  # images/s on one core, docs/data.md


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU, according to its maker.

    Attributes:
        peak: Multiplications and additions per second of 16-bit matrix products, without sparsity.
        bandwidth: Bytes per second to and from its memory.
        link: Bytes per second to another GPU of the node, in one direction.
        source: Source of these numbers.
    """

    peak: float
    bandwidth: float
    link: float
    source: str


GPUS = {
    "h100": Gpu(989.4e12, 3.35e12, 450e9, "NVIDIA H100 Tensor Core GPU datasheet, SXM5"),
    "a100": Gpu(312e12, 2.039e12, 300e9, "NVIDIA A100 Tensor Core GPU datasheet, 80 GB SXM4"),
    "v100": Gpu(125e12, 0.9e12, 150e9, "NVIDIA V100 Tensor Core GPU datasheet, SXM2; fp16, it has no bf16"),
    "l40s": Gpu(362.05e12, 0.864e12, 32e9, "NVIDIA L40S datasheet; PCIe 4.0 x16 between GPUs"),
}


@dataclass(frozen=True)
class Assumption:
    """A number that the plan depends on.

    Attributes:
        what: Its meaning.
        value: Its value as printed.
        source: Its source.
    """

    what: str
    value: str
    source: str


@dataclass(frozen=True)
class Work:
    """The training to estimate.

    Attributes:
        macs: Multiply-adds of one image in the forward pass.
        parameters: Number of trained parameters.
        images: Training images per epoch.
        epochs: Number of epochs.
        batch: Images per step, over all GPUs.
    """

    macs: int
    parameters: int
    images: int
    epochs: int
    batch: int


@dataclass(frozen=True)
class Given:
    """Values that the user knows and that replace an assumption.

    Attributes:
        share: Share of the GPU's peak that the products reach.
        step: Measured images/s that one GPU trains; replaces computing and memory.
        decoded: Measured images/s that one core of those machines decodes.
        cores: Cores per GPU.
        price: Price of a GPU hour.
    """

    share: float = 0.25
    step: float | None = None
    decoded: float | None = None
    cores: int | None = None
    price: float | None = None


@dataclass(frozen=True)
class Plan:
    """The duration, its limit, and the assumptions behind both.

    Attributes:
        seconds: Seconds of a step, by part. The parts run one after another, except the loader, which runs in parallel.
        rate: Images/s of all GPUs together.
        needed: Images/s that the loader must deliver to keep the GPUs busy.
        cores_per_gpu: Cores that each GPU needs for that.
        hours: Hours of the whole training, without validation.
        gpu_hours: These hours, summed over all GPUs.
        cost: Cost in the currency of the price; None without a price.
        limit: The part that takes longest.
        assumptions: All numbers that the plan depends on, with their sources.
    """

    seconds: dict[Part, float]
    rate: float
    needed: float
    cores_per_gpu: float
    hours: float
    gpu_hours: float
    cost: float | None
    limit: Part
    assumptions: tuple[Assumption, ...]


def plan(work: Work, name: str, gpus: int, given: Given) -> Plan:
    """The time of a step is the sum of its products, its optimizer and the exchange of its gradients.

    `computing = 6 macs batch / (gpus peak share)`, `memory = 28 parameters / bandwidth`, and the exchange in a
    ring, `2 (gpus - 1) / gpus * 4 parameters / link`, assuming that the backward pass hides none of it.

    Args:
        work: The training.
        name: Name of the GPU, a key of `GPUS`.
        gpus: Number of GPUs in one node.
        given: Values that replace assumptions.
    """
    gpu, decoded = GPUS[name], given.decoded or DECODED
    seconds: dict[Part, float] = {
        "computing": 2 * PASSES * work.macs * work.batch / (gpus * gpu.peak * given.share),
        "memory": OPTIMIZER_BYTES * work.parameters / gpu.bandwidth,
    }
    if given.step is not None:
        seconds = {"computing": work.batch / (gpus * given.step)}
    seconds["gradient exchange"] = 2 * (gpus - 1) / gpus * 4 * work.parameters / gpu.link
    step = sum(seconds.values())
    needed = work.batch / step
    if given.cores is not None:
        seconds["loader"] = work.batch / (gpus * given.cores * decoded)
    rate = work.batch / max(step, seconds.get("loader", 0.0))
    limit = max(seconds, key=lambda part: seconds[part])
    if seconds.get("loader", 0.0) > step:
        limit = "loader"
    elif limit == "loader":
        limit = max((part for part in seconds if part != "loader"), key=lambda part: seconds[part])
    hours = work.epochs * work.images / rate / 3600
    cost = None if given.price is None else given.price * gpus * hours
    return Plan(
        seconds,
        rate,
        needed,
        needed / gpus / decoded,
        hours,
        gpus * hours,
        cost,
        limit,
        tuple(_assumptions(work, name, gpus, given)),
    )


def _assumptions(work: Work, name: str, gpus: int, given: Given) -> list[Assumption]:
    gpu = GPUS[name]
    found = [
        Assumption("multiply-adds of an image", f"{work.macs / 1e9:.3f} G", "counted, as xnorlit summary does"),
        Assumption("parameters", f"{work.parameters:,}", "counted, as xnorlit summary does"),
        Assumption("images of an epoch", f"{work.images:,}", "the recipe and its image set"),
        Assumption("epochs", f"{work.epochs}", "the recipe"),
        Assumption("images of a step", f"{work.batch:,}", "the recipe, over all GPUs"),
    ]
    if given.step is None:
        found += [
            Assumption(
                "products of a training step", f"{PASSES} x forward", "arithmetic: one more for each operand's gradient"
            ),
            Assumption(f"peak of a {name}", f"{gpu.peak / 1e12:.0f} TFLOP/s in 16 bits", gpu.source),
            Assumption(
                "share of the peak",
                f"{given.share:.0%}",
                "ASSUMED, not measured: AlexNet's small maps reach less than large products; --share, or --step",
            ),
            Assumption(f"memory of a {name}", f"{gpu.bandwidth / 1e12:.2f} TB/s", gpu.source),
            Assumption("optimizer", f"{OPTIMIZER_BYTES} bytes a parameter", "arithmetic: Adam in fp32, once each"),
        ]
    else:
        found.append(Assumption("images/s of a GPU", f"{given.step:,.0f}", "given: --step"))
    if gpus > 1:
        found.append(Assumption("link between GPUs", f"{gpu.link / 1e9:.0f} GB/s each way", f"{gpu.source}; one node"))
    measured = "measured here (docs/data.md): FFCV, one core of an AMD EPYC (Zen 4), JPEGs at a shorter side of 256"
    found.append(
        Assumption(
            "images/s of a core",
            f"{given.decoded or DECODED:,.0f}",
            "given: --decoded" if given.decoded else f"{measured}; another machine's cores differ: --decoded",
        )
    )
    if given.cores is not None:
        found.append(Assumption("cores of a GPU", f"{given.cores}", "given: --cores"))
    if given.price is not None:
        found.append(Assumption("price of a GPU hour", f"{given.price:g}", "given: --price"))
    return found
