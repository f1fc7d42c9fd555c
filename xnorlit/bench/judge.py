"""Find the figure of each key among the measurements."""

from collections.abc import Callable
from typing import Any

from xnorlit.bench.figures import Figure, exactly
from xnorlit.bench.keys import CONVOLUTIONS, Key, has_targets, keys_of
from xnorlit.bench.measured import Measured
from xnorlit.bench.network import NETWORK
from xnorlit.bench.row import (
    BEST_FP32,
    EAGER_FP32,
    ONNX_INT8,
    OV_AVX2,
    OV_BINARY,
    OV_BYTE_ENDS,
    OV_FP32,
    OV_INSIDE,
    OV_INT8,
    packed,
)

MEGABYTE = 10**6
# The figure on some kernels; None if not measured.
Find = Callable[[Measured, str], Figure | None]


def judged(measured: Measured, isas: list[str], network: str, classes: int) -> dict[str, dict[str, Any]]:
    """Measured value, required value, aim and verdict of each key, by name.

    Args:
        measured: The figures.
        isas: The measured kernels, fastest first.
        network: Name of the network.
        classes: Its number of classes.
    """
    targets = has_targets(network, classes)
    return {key.name: _judged(key, measured, isas, targets) for key in keys_of(network)}


def _judged(key: Key, measured: Measured, isas: list[str], targets: bool) -> dict[str, Any]:
    isa, find = key.only or isas[0], FIND[key.name]
    found = find(measured, isa) if isa in isas else None
    result: dict[str, Any] = {"meaning": key.meaning, "must": key.must, "aim": key.aim_on(isa), "path": isa}
    result["less_is_better"] = key.less
    if found is None:
        return result | {"measured": None, "beside": {}, "verdict": "not measured"}
    beside = {other: find(measured, other) for other in isas[1:]} if key.timed and not key.only else {}
    return result | {
        "measured": found.to_json(),
        "beside": {other: figure.to_json() for other, figure in beside.items() if figure},
        "verdict": key.verdict(found.median, isa) if targets else "no target",
    }


def _layer(name: str, opponent: str = BEST_FP32) -> Find:
    return lambda measured, isa: measured.over(opponent, packed(isa), name, batch=1, threads=1)


def _scaling(name: str) -> Find:
    return lambda measured, isa: measured.over(packed(isa, alone=True), packed(isa), name, batch=1, threads=2)


def _network(ends: str, opponent: str, batch: int, threads: int) -> Find:
    return lambda measured, isa: measured.over(opponent, packed(isa, ends=ends), NETWORK, batch, threads)


def _tile(measured: Measured, isa: str) -> Figure | None:
    return measured.limits.tile_over_floats.get(isa)


def _inside(name: str) -> Find:
    return lambda measured, isa: measured.over(OV_INSIDE, packed(isa, inside=True), name, batch=1, threads=1)


def _share(name: str, batch: int) -> Find:
    def find(measured: Measured, isa: str) -> Figure | None:
        row, peak = measured.row(name, batch, 1), measured.limits.bits.get(isa)
        if row is None or peak is None or packed(isa) not in row.samples:
            return None
        return Figure.of([row.macs / seconds / peak for seconds in row.samples[packed(isa)]])

    return find


def _binary_share(measured: Measured, isa: str) -> Figure | None:
    """Multiply-adds of all binary layers over their seconds inside the network, as a share of the peak."""
    rows, side = measured.layers(batch=1, threads=1), packed(isa, inside=True)
    peak = measured.limits.bits.get(isa)
    if not rows or peak is None or any(side not in row.samples for row in rows):
        return None
    macs = sum(row.macs for row in rows)
    rounds = zip(*(row.samples[side] for row in rows), strict=True)
    return Figure.of([macs / sum(seconds) / peak for seconds in rounds])


def _tile_share(measured: Measured, isa: str) -> Figure | None:
    tile, peak = measured.limits.tile.get(isa), measured.limits.bits.get(isa)
    return exactly(tile / peak) if tile and peak else None


def _file(ends: str) -> Find:
    def find(measured: Measured, _: str) -> Figure | None:
        size = measured.memory.files.get(ends)
        return None if size is None else exactly(size / MEGABYTE)

    return find


def _on_disk(measured: Measured, _: str) -> Figure:
    return exactly(measured.memory.binary_fp32 / measured.memory.binary_disk)


def _resident(measured: Measured, _: str) -> Figure:
    return exactly(measured.memory.binary_fp32 / measured.memory.binary_resident)


FIND: dict[str, Find] = {
    **{f"{layer}_over_fp32": _layer(layer) for layer in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7")},
    "tile_over_fp32_peak_avx2": _tile,
    "tile_over_fp32_peak_avx512": _tile,
    "network_float_ends_over_fp32": _network("float", BEST_FP32, 1, 1),
    "network_int8_ends_over_fp32": _network("int8", BEST_FP32, 1, 1),
    "network_float_ends_batch32_over_fp32_eager": _network("float", EAGER_FP32, 32, 2),
    "network_int8_ends_batch32_over_fp32_eager": _network("int8", EAGER_FP32, 32, 2),
    **{f"{layer}_two_threads_over_one": _scaling(layer) for layer in CONVOLUTIONS},
    "conv3_over_onnxruntime_int8": _layer("conv3", ONNX_INT8),
    **{
        f"network_{ends}_ends{more}_over_openvino_binary": _network(ends, opponent, batch, threads)
        for batch, threads in ((1, 1), (1, 2), (32, 1), (32, 2))
        for more in ("" if batch == threads == 1 else f"_batch{batch}_threads{threads}",)
        for ends, opponent in (("float", OV_BINARY), ("int8", OV_BYTE_ENDS))
    },
    **{
        f"network_{ends}_ends_over_openvino_{kind}": _network(ends, opponent, 1, 1)
        for kind, opponent in (("int8", OV_INT8), ("fp32", OV_FP32))
        for ends in ("float", "int8")
    },
    **{
        f"network_{ends}_ends_over_openvino_binary_avx2": _network(ends, OV_AVX2[ends], 1, 1)
        for ends in ("float", "int8")
    },
    **{f"{layer}_inside_over_openvino_inside": _inside(layer) for layer in CONVOLUTIONS},
    **{
        f"{layer}_share_of_bits_peak{more}": _share(layer, batch)
        for batch, more in ((1, ""), (32, "_batch32"), (1, "_avx2"))
        for layer in CONVOLUTIONS
    },
    "binary_layers_share_of_bits_peak": _binary_share,
    "tile_share_of_bits_peak_avx2": _tile_share,
    "binary_layers_disk": _on_disk,
    "binary_layers_resident": _resident,
    "file_float_ends_mb": _file("float"),
    "file_int8_ends_mb": _file("int8"),
    "classify_over_torch": lambda measured, _: measured.cold_start.ratio,
}
