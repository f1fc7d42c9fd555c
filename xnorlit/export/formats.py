"""Export formats of a packed network. An export writes all of its files, or none."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from xnorlit.edge.atomic import sync
from xnorlit.errors import UserError, did_you_mean
from xnorlit.export import finn, onnx, openvino, qonnx
from xnorlit.export.pack import Packed, opened, pack
from xnorlit.packed import PackedNetwork
from xnorlit.packed.trained import located
from xnorlit.runs import read


class Format(NamedTuple):
    """An export format.

    Attributes:
        about: What it is, for the terminal.
        suffix: Suffix of the main file.
        runtime: The runtime that runs it.
        build: Makes the runtime's model of a packed network, from its graph, its tensors and `normalized_input`.
        save: Writes a model as files of a name into a folder. Returns them, the main file last.
        network: Makes a function of images from the main file, a batch size and a number of threads.
        advice: One line that its user needs to know.
    """

    about: str
    suffix: str
    runtime: str
    build: Callable[..., Any]
    save: Callable[[Any, Path, str], list[Path]]
    network: Callable[[Path, int, int], Callable[[np.ndarray], np.ndarray]]
    advice: str


FORMATS = {
    "openvino": Format(
        "OpenVINO's intermediate representation",
        ".xml",
        "OpenVINO",
        openvino.build,
        openvino.save,
        openvino.Network,
        openvino.ADVICE,
    ),
    "onnx": Format("ONNX", ".onnx", "onnxruntime", onnx.build, onnx.save, onnx.Network, onnx.ADVICE),
    "onnx-qdq": Format(
        "ONNX with few-bit weights in 8 bits",
        ".onnx",
        "onnxruntime",
        partial(onnx.build, qdq=True),
        onnx.save,
        onnx.Network,
        onnx.ADVICE,
    ),
    "qonnx": Format("QONNX, types of one bit", ".onnx", "qonnx", qonnx.build, onnx.save, qonnx.Network, qonnx.ADVICE),
    "finn": Format("QONNX for FINN", ".onnx", "qonnx", finn.build, onnx.save, qonnx.Network, finn.ADVICE),
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        format: Name of the format.
        files: All files, the main file last.
    """

    format: str
    files: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """Total size of the files."""
        return sum(file.stat().st_size for file in self.files)

    def __str__(self) -> str:
        names = " and ".join(file.name for file in reversed(self.files))
        return f"{names}: {self.bytes / 2**20:.3g} MiB, {FORMATS[self.format].about}"


def export(
    network: nn.Module | Packed | PackedNetwork | Path | str,
    file: Path | str,
    *,
    format: str = "openvino",
    normalized_input: bool = False,
    **packing: Any,
) -> Exported:
    """Export a trained network to OpenVINO, ONNX, QONNX or FINN.

    It computes what the packed network computes: the integers of its binary layers are those of the module's
    evaluation.
    `docs/export.md` says what each format keeps, and how to run it.

    Args:
        network: A module in any mode; what `pack` or `load` gave; a packed file, the name of a trained network, or the
            folder of a run.
        file: Output file; an existing file is replaced. The format's suffix may be omitted.
        format: `openvino`; `onnx`, or `onnx-qdq`, which stores few-bit weights in 8 bits; `qonnx`, or `finn`, which is
            QONNX as FINN reads it.
        normalized_input: Whether the exported network reads normalised fp32 `[N, 3, S, S]` instead of uint8
            `[N, S, S, 3]`.
        packing: For a module, the arguments of `pack`: `image_size`, `classes`, and so on.

    Raises:
        UserError: There is no such format, its package is missing, or the format cannot express a layer; the message
            names the layer and what to use instead.

    Examples:
        >>> import tempfile
        >>> import torch
        >>> import xnorlit as xl
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 16, 3, padding=1),
        ...     torch.nn.BatchNorm2d(16),
        ...     xl.BinaryConv2d(16, 32, 3, padding=1, binarizer="XNOR"),
        ...     torch.nn.MaxPool2d(4),
        ...     torch.nn.Flatten(),
        ...     torch.nn.Linear(512, 2),
        ... )
        >>> packed = xl.pack(net, image_size=16, classes=["cat", "dog"], mean=[125, 123, 114], std=[63, 62, 67])
        >>> print(xl.export(packed, tempfile.mkdtemp() + "/net.xml", format="openvino"))
        net.xml and net.bin: ... MiB, OpenVINO's intermediate representation
    """
    chosen = format_named(format)
    target = placed(Path(file), format)
    packed = packed_form(network, **packing)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        made = chosen.save(chosen.build(*packed, normalized_input=normalized_input), scratch, target.stem)
        for each in made:
            sync(each)
        files = [each.replace(target.parent / each.name) for each in made]
        sync(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(format, tuple(files))


def packed_form(network: nn.Module | Packed | PackedNetwork | Path | str, **packing: Any) -> Packed:
    """A network in any form as `pack` gives it.

    Args:
        network: As of `export`.
        packing: For a module, the arguments of `pack`.

    Raises:
        UserError: It cannot be packed, or the file is no packed network.
    """
    if isinstance(network, nn.Module):
        return pack(network, **packing)
    if packing:
        raise TypeError(f"{min(packing)}: the network is packed already. Give this argument with a module only.")
    if isinstance(network, Packed):
        return network
    if isinstance(network, PackedNetwork):
        return Packed(network.graph, network.tensors)
    if not isinstance(network, Path | str):
        kind = type(network).__name__
        raise UserError(f"the network is {kind}. Expected an nn.Module, a packed network, its file, or a run's folder.")
    if not Path(network).is_dir():
        return opened(located(network))
    from xnorlit.export.rebuild import packed_of, rebuild  # Imported here, because it imports Lightning.

    run = read(Path(network))
    return packed_of(run, rebuild(run, run.checkpoint("last")), "float")


def format_named(name: str) -> Format:
    """A format by its name.

    Raises:
        UserError: There is no format of that name.
    """
    if name not in FORMATS:
        raise UserError(f"no format named {name}.{did_you_mean(name, FORMATS)} Known: {', '.join(FORMATS)}.")
    return FORMATS[name]


def placed(file: Path, format: str) -> Path:
    """The main file of an export, in a folder that exists.

    Raises:
        UserError: The folder does not exist, or the file has another format's suffix.
    """
    suffix = FORMATS[format].suffix
    if file.suffix not in ("", suffix) or not file.name:
        right = file.with_suffix(suffix).name if file.name else f"a name, such as net{suffix}"
        raise UserError(f"{file}: {format} files end in {suffix}. Give {right}.")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is not a folder. Create it (mkdir -p {file.parent}), or give another file.")
    if file.with_suffix(suffix).is_dir():
        raise UserError(f"{file.with_suffix(suffix)} is a folder. Give the name of a file.")
    if not os.access(file.parent, os.W_OK):
        raise UserError(f"{file.parent}: permission denied. Give a file in a folder that you may write to.")
    return file.with_suffix(suffix)
