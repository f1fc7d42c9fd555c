"""The targets of this project: the meaning of each ratio, its required value and its aim."""

from collections.abc import Iterator
from dataclasses import dataclass

TARGET_CLASSES = 1000  # the targets apply to networks for ImageNet


@dataclass(frozen=True)
class Key:
    """One figure.

    Attributes:
        name: Its name in the JSON.
        meaning: Its meaning in one line.
        must: The required minimum; with `less`, the maximum.
        aim: The aim; None if only `must` is set.
        aims: Aims for particular kernels.
        only: The only kernels that the key concerns; "" for the processor's fastest, with the others listed too.
        less: Whether less is better: sizes, in MB.
        timed: Whether it is a time that depends on the kernels.
    """

    name: str
    meaning: str
    must: float
    aim: float | None
    aims: tuple[tuple[str, float], ...] = ()
    only: str = ""
    less: bool = False
    timed: bool = True

    def aim_on(self, isa: str) -> float | None:
        """The aim on these kernels."""
        return dict(self.aims).get(isa, self.aim)

    def verdict(self, value: float, isa: str) -> str:
        """`met`, `met, aim too` or `missed`."""
        sign = -1 if self.less else 1
        if sign * value < sign * self.must:
            return "missed"
        aim = self.aim_on(isa)
        return "met" if aim is None or sign * value < sign * aim else "met, aim too"


_LAYER = "batch 1, one thread, packing included, over torch's best fp32"
_ALONE = "batch 1, one thread, over torch's best fp32"
_MANY = "batch 32, two threads, over torch's fp32 eager as it comes (contiguous)"
_ENDS = {"float": "fp32 ends", "int8": "int8 ends"}
# (batch, threads): must and aim with fp32 ends, must and aim with int8 ends.
_OVER_BINARY = {
    (1, 1): (1.4, 1.6, 1.45, 1.7),
    (1, 2): (1.5, 1.7, 1.6, 1.9),
    (32, 1): (1.6, 1.8, 1.8, 2.0),
    (32, 2): (1.6, 1.8, 1.8, 2.0),
}
_OVER_OTHERS = {"int8": (2.5, 3, 5, 6), "fp32": (10, 12, 20, 25)}


def _openvino() -> Iterator[Key]:
    """Keys of the whole network over OpenVINO's networks, with the same weights or with the twin's."""
    for (batch, threads), targets in _OVER_BINARY.items():
        where = f"batch {batch}, {'one thread' if threads == 1 else 'two threads'}"
        more = "" if (batch, threads) == (1, 1) else f"_batch{batch}_threads{threads}"
        for i, (ends, words) in enumerate(_ENDS.items()):
            meaning = f"whole network, {words}, {where}, over OpenVINO's binary network with {words}"
            yield Key(f"network_{ends}_ends{more}_over_openvino_binary", meaning, *targets[2 * i : 2 * i + 2])
    for kind, targets in _OVER_OTHERS.items():
        for i, (ends, words) in enumerate(_ENDS.items()):
            meaning = f"whole network, {words}, batch 1, one thread, over the twin in OpenVINO's {kind}"
            yield Key(f"network_{ends}_ends_over_openvino_{kind}", meaning, *targets[2 * i : 2 * i + 2])


def _avx2() -> Iterator[Key]:
    """The same keys with both sides limited to AVX2."""
    for ends, words in _ENDS.items():
        meaning = f"whole network, {words}, batch 1, one thread, over OpenVINO's binary network, both limited to AVX2"
        yield Key(f"network_{ends}_ends_over_openvino_binary_avx2", meaning, 1.5, 2, only="avx2")


CONVOLUTIONS = ("conv2", "conv3", "conv4", "conv5")
# Batch, kernels (the fastest with ""), must and aim.
_SHARES = ((1, "", 0.85, 0.92), (32, "", 0.80, 0.90), (1, "avx2", 0.70, 0.80))


def _convolutions() -> Iterator[Key]:
    """The binary convolutions beside OpenVINO's inside the network, and beside what the core can do."""
    for layer in CONVOLUTIONS:
        meaning = f"{layer}, batch 1, one thread, inside the network, over OpenVINO's inside its binary network"
        yield Key(f"{layer}_inside_over_openvino_inside", meaning, 1.05, 1.15)
    for batch, isa, must, aim in _SHARES:
        for layer in CONVOLUTIONS:
            name = "_".join(filter(None, (layer, "share_of_bits_peak", batch > 1 and f"batch{batch}", isa)))
            on = f", {isa.upper()}" if isa else ""
            meaning = f"{layer}, batch {batch}, one thread, packing included{on}, share of the core's bits peak"
            yield Key(name, meaning, must, aim, only=isa)
    yield Key(
        "tile_share_of_bits_peak_avx2", "inner kernel, AVX2, share of the core's bits peak", 0.85, 0.92, only="avx2"
    )


_OVER_OPENVINO = (*_openvino(), *_avx2(), *_convolutions())
_ALEXNET = (
    Key("conv2_over_fp32", f"conv2, {_LAYER}", 12, 18),
    Key("conv3_over_fp32", f"conv3, {_LAYER}", 14, 20),
    Key("conv4_over_fp32", f"conv4, {_LAYER}", 14, 20),
    Key("conv5_over_fp32", f"conv5, {_LAYER}", 14, 20),
    Key("fc6_over_fp32", f"fc6, {_LAYER}", 20, 25),
    Key("fc7_over_fp32", f"fc7, {_LAYER}", 20, 25),
    Key("tile_over_fp32_peak_avx2", "inner kernel, AVX2, over the core's fp32 peak", 11, 17, only="avx2"),
    Key("tile_over_fp32_peak_avx512", "inner kernel, VPOPCNTDQ, over the core's fp32 peak", 20, 24, only="avx512"),
    Key("network_float_ends_over_fp32", f"whole network, fp32 ends, {_ALONE}", 6.8, 8.5),
    Key("network_int8_ends_over_fp32", f"whole network, int8 ends, {_ALONE}", 9, 11, aims=(("avx512", 15),)),
    Key("network_float_ends_batch32_over_fp32_eager", f"whole network, fp32 ends, {_MANY}", 8, 11),
    Key("network_int8_ends_batch32_over_fp32_eager", f"whole network, int8 ends, {_MANY}", 8, 11),
    Key("conv2_two_threads_over_one", "conv2, batch 1, two threads over one", 1.7, 1.9),
    Key("conv3_two_threads_over_one", "conv3, batch 1, two threads over one", 1.7, 1.9),
    Key("conv4_two_threads_over_one", "conv4, batch 1, two threads over one", 1.7, 1.9),
    Key("conv5_two_threads_over_one", "conv5, batch 1, two threads over one", 1.7, 1.9),
    Key("conv3_over_onnxruntime_int8", "conv3, batch 1, one thread, over onnxruntime's int8", 5, 8),
    *_OVER_OPENVINO,
    Key("binary_layers_disk", "binary layers on disk, times smaller than fp32", 31.5, 31.9, timed=False),
    Key("binary_layers_resident", "binary layers in memory, times smaller than fp32", 31.5, 31.9, timed=False),
    Key("file_float_ends_mb", "whole file with fp32 ends, MB", 24, None, less=True, timed=False),
    Key("file_int8_ends_mb", "whole file with int8 ends, MB", 11.5, None, less=True, timed=False),
    Key(
        "classify_over_torch",
        "classify one photo, cold process to answer, over the twin's in torch",
        5,
        10,
        timed=False,
    ),
)


_WHOLE = {ends: f"whole network, {words}" for ends, words in _ENDS.items()}
_INT8 = "batch 1, one thread, over the twin in OpenVINO's int8"
_RESNET = (
    Key("network_float_ends_over_fp32", f"{_WHOLE['float']}, {_ALONE}", 4, 6),
    Key("network_int8_ends_over_fp32", f"{_WHOLE['int8']}, {_ALONE}", 7, 10),
    Key("network_float_ends_over_openvino_int8", f"{_WHOLE['float']}, {_INT8}", 1.5, 2.5),
    Key("network_int8_ends_over_openvino_int8", f"{_WHOLE['int8']}, {_INT8}", 1.5, 2.5),
    Key(
        "binary_layers_share_of_bits_peak",
        "all binary convolutions inside the network, each with what follows it in the same pass, batch 1, one thread, "
        "share of the core's bits peak",
        0.6,
        0.75,
    ),
)
_REACTNET = (Key("network_float_ends_over_fp32", f"{_WHOLE['float']}, {_ALONE}", 5, 8),)
KEYS = {"alexnet-xnor": _ALEXNET, "resnet18-bireal": _RESNET, "reactnet-a": _REACTNET}


def keys_of(network: str) -> tuple[Key, ...]:
    """The keys of a network; one without targets has the figures of AlexNet's."""
    return KEYS.get(network, _ALEXNET)


def has_targets(network: str, classes: int) -> bool:
    """Whether a network is held against targets."""
    return network in KEYS and classes == TARGET_CLASSES


def as_markdown(network: str) -> str:
    """The keys of a network as docs/benchmarks.md lists them."""
    lines = ["| key | what | must | aim |", "|---|---|---|---|"]
    for key in KEYS[network]:
        aims = [] if key.aim is None else [f"{key.aim:g}", *(f"{aim:g} on {isa}" for isa, aim in key.aims)]
        most = "at most " if key.less else ""
        lines.append(f"| `{key.name}` | {key.meaning} | {most}{key.must:g} | {', '.join(aims)} |")
    return "\n".join(lines)


def listed() -> str:
    """All keys by network: name, meaning, must, aim."""
    lines = []
    for network, keys in KEYS.items():
        lines.append(network)
        for key in keys:
            sign = "at most" if key.less else "at least"
            aim = "" if key.aim is None else f", aim {key.aim:g}"
            aim += "".join(f", {value:g} on {isa}" for isa, value in key.aims)
            lines.append(f"  {key.name}\n      {key.meaning}: {sign} {key.must:g}{aim}")
    return "\n".join(lines)
