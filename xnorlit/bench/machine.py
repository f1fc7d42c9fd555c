"""Describes the machine: processor, instruction sets, versions and load."""

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from xnorlit.edge.processes import cores
from xnorlit.packed import _kernels
from xnorlit.training.environment import environment

# The flags that the kernels and their opponents check.
FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vpopcntdq", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")
LEAST_SHARE = 0.05  # share of a processor below which a process is not named
PACKAGES = ("onnxruntime", "onnx", "openvino")


def machine() -> dict[str, Any]:
    """The machine as JSON."""
    found = environment(backend="none")
    return {
        "cpu": found["cpu"],
        "flags": [flag for flag in FLAGS if flag in _flags()],
        "cores": found["cores"],
        "usable_cores": cores(),
        "kernels": _kernels.isas(),
        "platform": found["platform"],
        "python": found["python"],
        "packages": found["packages"] | _versions(),
        "git": found["git"],
        "command": found["command"],
        "started": found["started"],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "unset"),
    }


def load_average() -> float | None:
    """The load average of the last minute; None if the system does not provide it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def processor_seconds() -> dict[tuple[int, str], float]:
    """CPU seconds of each process of this machine, by its number and name; empty if /proc is missing."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended since
            number, _, rest = stat.read_text().partition(" (")
            name, _, fields = rest.rpartition(") ")
            user, system = fields.split()[11:13]
            found[int(number), name] = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return found


def busiest(before: dict[tuple[int, str], float], after: dict[tuple[int, str], float], seconds: float) -> list[str]:
    """The other processes that computed between two times, busiest first: name, and number of processors used.

    Args:
        before: Result of `processor_seconds`.
        after: A later result.
        seconds: Seconds between them.
    """
    ours, shares = os.getpid(), {}
    for (number, name), took in after.items():
        if number != ours:
            share = (took - before.get((number, name), 0.0)) / max(seconds, 1e-3)
            shares[name] = shares.get(name, 0.0) + share
    most = sorted(shares.items(), key=lambda pair: -pair[1])[:3]
    return [f"{name} {share:.2f}" for name, share in most if share >= LEAST_SHARE]


def _flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return {platform.machine()}


def _versions() -> dict[str, str]:
    import importlib.metadata

    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
