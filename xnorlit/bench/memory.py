"""Bytes of the file, of the engine, and of the binary layers."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from xnorlit.bench.layers import binary_engine, macs_of
from xnorlit.bench.subject import Subject
from xnorlit.export.pack import write

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        files: Whole packed files, by kind of ends.
        resident: Weights, thresholds and tables in the engine's memory, by kind of ends.
        process: Growth of a new process that loads the file and classifies one image, by kind of ends; None if the
            system does not report it.
        fp32: All parameters of the float twin.
        binary_fp32: The binary layers' weights in fp32.
        binary_disk: The same layers in the file, thresholds included.
        binary_resident: The same layers in the engine, thresholds and tables included.
    """

    files: dict[str, int]
    resident: dict[str, int]
    process: dict[str, int | None]
    fp32: int
    binary_fp32: int
    binary_disk: int
    binary_resident: int


def measure_memory(subject: Subject, isa: str) -> Memory:
    """The bytes of a network on these kernels."""
    files, resident, process = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for ends, (graph, tensors) in subject.packed.items():
            file = Path(folder) / f"{ends}.safetensors"
            write(file, graph, tensors)
            files[ends] = file.stat().st_size
            process[ends] = _growth(file)
            resident[ends] = subject.engine(ends, isa).resident_bytes
    disk = fp32 = kept = 0
    steps = subject.engine(next(iter(subject.packed)), isa).step_bytes
    for layer, at in subject.layers():
        if layer.weights.form != "planes":
            continue
        if subject.graph.layers:
            kept += steps[layer.name]
        else:  # a pass over a map may hold more than the layer
            kept += binary_engine(isa, layer, at, subject.tensors[f"{layer.name}.weight"]).resident_bytes
        disk += sum(values.nbytes for name, values in subject.tensors.items() if name.startswith(f"{layer.name}."))
        fp32 += FLOAT_BYTES * macs_of(layer, at) // (layer.sums(at).height * layer.sums(at).width)
    whole = FLOAT_BYTES * sum(parameter.numel() for parameter in subject.twin.parameters())
    return Memory(files, resident, process, whole, fp32, disk, kept)


_PROBE = """
import sys
import numpy as np
from xnorlit.packed import load
def resident():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmRSS"))
before = resident()
network = load(sys.argv[1])
network(np.zeros((1, network.graph.image_size, network.graph.image_size, 3), np.uint8), threads=1)
print(resident() - before)
"""


def _growth(file: Path) -> int | None:
    if not Path("/proc/self/status").exists():
        return None
    done = subprocess.run([sys.executable, "-c", _PROBE, str(file)], capture_output=True, text=True, check=True)
    return int(done.stdout)
