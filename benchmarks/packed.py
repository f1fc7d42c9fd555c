"""How much faster the packed network is than torch's fp32: layer by layer and whole, in one run on one machine.

    python benchmarks/packed.py [--json FILE] [--network alexnet-xnor] [--threads 1 2] [--batches 1 8 32] [--repeats 15]

Everything is measured by turns, so that what else the machine does falls on both sides alike; a time is the median of
its repeats, with the least beside it. A layer's time on the engine begins with real numbers: the packing of its input
into bits is included, and it ends with the bits that the next layer reads. torch's time is that of the convolution or
product alone, in the better of its two memory formats. The weights are random: neither side's speed depends on them.

The limits: `fp32 peak` is a loop of multiply-adds on registers alone; `bits peak` the same of the path's own counting
instructions; `tile` the inner kernel on data in the first-level cache. `share` is the part of the bits peak that a
whole layer reaches.

Where the paper's 58 comes from: it counts one operation per word of 64 products against 64 scalar multiply-adds, and
one real multiplication per output besides. No processor multiplies scalars one by one any more (16 multiply-adds per
cycle here, in fp32), and a word costs an xor, a count and an addition. What remains is bits peak / fp32 peak, printed
below: the most that a layer could gain on this machine over a perfect fp32 convolution.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from xnorlit import atomic
from xnorlit.binarize.float import Float
from xnorlit.binarize.xnor import XNOR
from xnorlit.models import build, network_named, summarize
from xnorlit.packed import PackedNetwork, _kernels
from xnorlit.packed.export import pack
from xnorlit.packed.graph import Graph, Layer, Map


class Time(NamedTuple):
    """Seconds of one call: the median of the repeats and the least of them."""

    median: float
    least: float


def by_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Time]:
    """Times each call once per round, round after round."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Time(statistics.median(found), min(found)) for name, found in seconds.items()}


def peaks(paths: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Products per second of the register-only loops and of the inner kernel, for each path: the best of many."""
    loops = [(path, what) for path in paths for what in ("floats", "bits", "tile")]
    rounds = {}
    for loop in loops:
        rounds[loop] = 64
        while by_turns({"": lambda loop=loop: _kernels.spin(*loop, rounds[loop])}, 1)[""].least < 5e-4:
            rounds[loop] *= 2
    done = {loop: _kernels.spin(*loop, rounds[loop]) for loop in loops}
    times = by_turns({loop: lambda loop=loop: _kernels.spin(*loop, rounds[loop]) for loop in loops}, 20 * repeats)
    return {path: {what: done[path, what] / times[path, what].least for _, what in loops[:3]} for path in paths}


def binary_engine(path: str, layer: Layer, at: Map, weight: np.ndarray) -> _kernels.Engine:
    """An engine of one layer: real numbers to the bits behind its threshold."""
    looks = layer.looks(at)
    engine = _kernels.Engine(path)
    engine.add_sign(list(at))
    thresholds, flips = np.zeros(layer.outputs, np.int32), np.zeros(layer.outputs, np.uint8)
    window = [*looks.kernel, *looks.stride, *looks.padding]
    engine.add_binary_to_bits(list(at), window, layer.groups, layer.outputs, weight, [], thresholds, flips)
    return engine


def torch_calls(layer: Layer, at: Map, batch: int) -> dict[str, Callable[[], Any]]:
    """The layer in fp32, in each of torch's memory formats."""
    looks = layer.looks(at)
    if layer.window is None:
        x, weight = torch.randn(batch, at.height * at.width * at.channels), torch.randn(layer.outputs, *_flat(at))
        return {"torch contiguous": lambda: F.linear(x, weight)}
    x = torch.randn(batch, at.channels, at.height, at.width)
    weight = torch.randn(layer.outputs, at.channels // layer.groups, *looks.kernel)
    formats = {"torch contiguous": torch.contiguous_format, "torch channels_last": torch.channels_last}
    operands = {name: (x.to(memory_format=f), weight.to(memory_format=f)) for name, f in formats.items()}
    return {
        name: lambda pair=pair: F.conv2d(*pair, None, looks.stride, looks.padding, 1, layer.groups)
        for name, pair in operands.items()
    }


def _flat(at: Map) -> tuple[int]:
    return (at.height * at.width * at.channels,)


def layer_rows(
    graph: Graph, tensors: Mapping[str, np.ndarray], paths: list[str], batch: int, threads: list[int], repeats: int
) -> list[dict[str, Any]]:
    """Each binary layer on each path against torch, with one thread and with more."""
    rows, at = [], graph.input
    for layer in graph.layers:
        if layer.binary:
            unpooled = layer.sums(at)
            products = tensors[f"{layer.name}.weight"].shape[2:4]
            macs = batch * unpooled.height * unpooled.width * layer.outputs * products[0] * products[1]
            macs *= at.channels // layer.groups
            x = np.random.default_rng(0).standard_normal((batch, *at), np.float32)
            for count in threads:
                torch.set_num_threads(count)
                calls = torch_calls(layer, at, batch)
                for path in paths:
                    engine = binary_engine(path, layer, at, tensors[f"{layer.name}.weight"])
                    out = np.empty((batch, engine.output_elements), np.uint32)
                    calls[path] = lambda e=engine, x=x, out=out, count=count: e.run(x, out, count)
                times = by_turns(calls, repeats)
                reference = min((t for name, t in times.items() if name.startswith("torch")), key=lambda t: t.median)
                rows += [
                    {"layer": layer.name, "batch": batch, "threads": count, "path": path, "macs": macs}
                    | {"torch": reference._asdict(), "packed": times[path]._asdict()}
                    | {
                        "ratio": reference.median / times[path].median,
                        "ratio_least": reference.least / times[path].least,
                    }
                    for path in paths
                ]
        at = layer.output(at)
    return rows


def network_rows(
    twin: torch.nn.Module, packed: Mapping[str, PackedNetwork], batches: list[int], threads: list[int], repeats: int
) -> list[dict[str, Any]]:
    """The whole network, with either kind of ends, against its float twin in eager fp32, from pixels to logits."""
    rows, size = [], packed["float"].graph.image_size
    last = twin.to(memory_format=torch.channels_last)
    for batch in batches:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        for count in threads:
            torch.set_num_threads(count)
            calls: dict[str, Callable[[], Any]] = {"torch": lambda images=images: last(images)}
            for ends, network in packed.items():
                calls[ends] = lambda n=network, pixels=pixels, count=count: n(pixels, threads=count)
            times = by_turns(calls, max(3, repeats // (1 + batch // 4)))
            reference = times.pop("torch")
            rows += [
                {"layer": f"{ends} ends", "batch": batch, "threads": count, "path": packed[ends].path}
                | {"torch": reference._asdict(), "packed": ours._asdict()}
                | {"ratio": reference.median / ours.median, "ratio_least": reference.least / ours.least}
                for ends, ours in times.items()
            ]
    return rows


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    fp32 = max(peak["floats"] for peak in found["peaks"].values())
    lines = [
        f"{found['cpu']}, torch {found['torch']}, random weights",
        f"fp32 peak {fp32 / 1e9:.1f} GMAC/s on one core",
    ]
    for path, peak in found["peaks"].items():
        bits, tile = (f"{peak[what] / 1e9:.0f} GMAC/s ({peak[what] / fp32:.1f} x)" for what in ("bits", "tile"))
        lines.append(f"{path}: bits peak {bits}, tile {tile}")
    lines.append(f"{'layer':10} {'path':9} batch threads  torch ms  packed ms   ratio (least)  GMAC/s  share")
    for row in found["rows"]:
        speed = row.get("macs", 0) / row["packed"]["median"]
        share = speed / row["threads"] / found["peaks"][row["path"]]["bits"]
        milliseconds = [1e3 * row[side]["median"] for side in ("torch", "packed")]
        lines.append(
            f"{row['layer']:10} {row['path']:9} {row['batch']:5} {row['threads']:7} {milliseconds[0]:9.3f} "
            f"{milliseconds[1]:10.3f} {row['ratio']:7.1f} {row['ratio_least']:7.1f} "
            + (f"{speed / 1e9:7.0f} {share:6.0%}" if speed else "")
        )
    memory = found["memory"]
    smaller = memory["binary_fp32"] / memory["binary_packed"]
    resident = memory["resident"] / 1e6
    lines.append(
        f"memory: binary layers {smaller:.1f} times smaller than fp32, whole network {resident:.1f} MB resident"
    )
    return "\n".join(lines)


def memory_of(graph: Graph, tensors: Mapping[str, np.ndarray], packed: PackedNetwork, summary: Any) -> dict[str, int]:
    """Bytes: the binary layers as fp32 and as packed with their thresholds, and what the engine keeps."""
    names = [f"{layer.name}." for layer in graph.layers if layer.binary]
    packed_bytes = sum(values.nbytes for name, values in tensors.items() if name.startswith(tuple(names)))
    return {"binary_fp32": 4 * summary.binary_weights, "binary_packed": packed_bytes, "resident": packed.resident_bytes}


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="alexnet-xnor")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    network = network_named(args.network)
    size = network.image_size
    model = build(network, XNOR(), classes=1000, image_size=size).eval()
    graph, tensors = pack(model, image_size=size, classes=[str(i) for i in range(1000)])
    packed = PackedNetwork(graph, tensors)
    pixels = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8)
    in_bytes = PackedNetwork(*pack(model, image_size=size, classes=graph.classes, ends="int8", calibration=pixels))
    paths = [path for path in _kernels.paths() if path != "portable"] or _kernels.paths()
    found: dict[str, Any] = {
        "cpu": _cpu(),
        "torch": torch.__version__,
        "weights": "random",
        "peaks": peaks(paths, args.repeats),
        "memory": memory_of(graph, tensors, packed, summarize(model)),
        "rows": layer_rows(graph, tensors, paths, args.batches[0], args.threads, args.repeats),
    }
    twin = build(network, Float(), classes=1000, image_size=size).eval()
    found["rows"] += network_rows(twin, {"float": packed, "int8": in_bytes}, args.batches, args.threads, args.repeats)
    print(table(found))
    if args.json:
        with atomic.path(args.json) as unfinished:
            unfinished.write_text(json.dumps(found, indent=2))


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
