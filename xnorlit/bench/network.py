"""Measure the whole network, from uint8 pixels to logits, with both kinds of ends."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from xnorlit.bench.opponents import onnx_int8, openvino, torch_int8
from xnorlit.bench.opponents.compiled import CompileError, compiled
from xnorlit.bench.opponents.exported import Exported, ExportError, exported
from xnorlit.bench.opponents.fp32 import fp32_networks
from xnorlit.bench.opponents.quantized import Step, UnsupportedError, quantized_network
from xnorlit.bench.row import (
    COMPILED,
    ONNX_INT8,
    OV_AVX2,
    OV_BINARY,
    OV_BYTE_ENDS,
    OV_FP32,
    OV_INT8,
    TORCH_INT8,
    Row,
    packed,
)
from xnorlit.bench.settings import Settings
from xnorlit.bench.subject import CALIBRATION_IMAGES, Subject, pixels
from xnorlit.bench.turns import Call, Turns, by_turns
from xnorlit.packed import PackedNetwork

NETWORK = "network"


def measure_network(subject: Subject, settings: Settings, done: Callable[[str], None]) -> list[Row]:
    """The network at each batch and number of threads, against its float twin.

    Args:
        subject: The network and its twin.
        settings: What to measure.
        done: Called with the name of each row before it is measured.
    """
    size = subject.graph.image_size
    settings, steps = _in_torchs_8_bits(subject, settings)
    engines = {(ends, isa): subject.engine(ends, isa) for ends in subject.packed for isa in settings.isas}
    held, not_held = _held_to_avx2(subject, settings)
    rows = []
    for batch in settings.batches:
        images = pixels(batch, size)
        planar = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        twin, why = _exported(subject, planar)
        for threads in settings.threads:
            done(f"whole network, batch {batch}, {threads} thread{'s' if threads > 1 else ''}")
            torch.set_num_threads(threads)
            given = torch.from_numpy(images).permute(0, 3, 1, 2)
            calls, absent, compile_seconds = _opponents(subject, steps, given, threads, settings)
            absent = {**dict.fromkeys((ONNX_INT8, OV_FP32, OV_INT8), why), **absent} if why else absent
            if twin and ONNX_INT8 not in absent:
                calls[ONNX_INT8] = onnx_int8.network_call(twin.int8, planar, threads)
            _add_openvino(calls, absent, subject, twin, images, planar, threads, engines)
            for (ends, isa), engine in engines.items():
                calls[packed(isa, ends=ends)] = lambda engine=engine, n=threads, x=images: engine(x, threads=n)
                if threads > 1:
                    calls[packed(isa, ends=ends, alone=True)] = lambda engine=engine, x=images: engine(x, threads=1)
            turns = by_turns(calls, settings.rounds, settle=threads > 1)
            turns = Turns(*({**samples, **held.get((batch, threads), {})} for samples in turns))
            rows.append(Row(NETWORK, batch, threads, turns, 0, {**absent, **not_held}, compile_seconds))
    return rows


def _held_to_avx2(
    subject: Subject, settings: Settings
) -> tuple[dict[tuple[int, int], dict[str, list[float]]], dict[str, str]]:
    """Times of OpenVINO's binary networks limited to AVX2, by batch and threads, and why some are missing."""
    cases = [(batch, threads) for batch in settings.batches for threads in settings.threads]
    held: dict[tuple[int, int], dict[str, list[float]]] = {case: {} for case in cases}
    absent = {}
    for ends, side in OV_AVX2.items():
        if OV_BINARY in settings.absent:
            absent[side] = settings.absent[OV_BINARY]
        elif "avx2" not in settings.isas or ends not in subject.packed:
            absent[side] = "there is no such network of ours to compare it with"
        else:
            try:
                found = openvino.held_to_avx2(*subject.packed[ends], cases, settings.rounds)
            except openvino.OpponentError as error:
                absent[side] = str(error)
                continue
            for case, times in zip(cases, found, strict=True):
                held[case][side] = times
    return held, absent


def _exported(subject: Subject, planar: np.ndarray) -> tuple[Exported | None, str]:
    """The twin as ONNX, or why there is none."""
    try:
        return exported(subject.twin, planar), ""
    except ExportError as error:
        return None, str(error)


def _in_torchs_8_bits(subject: Subject, settings: Settings) -> tuple[Settings, list[Step]]:
    """The twin as steps in 8 bits; if it is no chain of such steps, none and settings that say why."""
    images = torch.from_numpy(pixels(CALIBRATION_IMAGES, subject.graph.image_size)).permute(0, 3, 1, 2)
    try:
        return settings, quantized_network(subject.twin, images)
    except UnsupportedError as error:
        return replace(settings, absent={TORCH_INT8: str(error), **settings.absent}), []


def _opponents(
    subject: Subject, steps: list[Step], images: torch.Tensor, threads: int, settings: Settings
) -> tuple[dict[str, Call], dict[str, str], float]:
    """The opponents' calls, why some are missing, and the seconds of compiling.

    Args:
        subject: The subject, with the twin.
        steps: The twin in torch's 8 bits.
        images: uint8 `(N, 3, S, S)`, channels last in memory.
        threads: Number of threads of each.
        settings: Settings, which say what to omit.
    """
    calls, absent, compile_seconds = fp32_networks(subject.twin, images), dict(settings.absent), 0.0
    if COMPILED not in absent:
        try:
            calls[COMPILED], compile_seconds = compiled(subject.twin, images.contiguous())
        except CompileError as error:
            absent[COMPILED] = str(error)
    if TORCH_INT8 not in absent:
        network = torch_int8.TorchInt8(steps, None, real=True)
        calls[TORCH_INT8] = lambda: network(images)
    return calls, absent, compile_seconds


def _add_openvino(
    calls: dict[str, Call],
    absent: dict[str, str],
    subject: Subject,
    twin: Exported | None,
    images: np.ndarray,
    planar: np.ndarray,
    threads: int,
    engines: Mapping[tuple[str, str], PackedNetwork],
) -> None:
    """OpenVINO's sides, each with its call or the reason why it is missing; the twin reads `planar` images."""

    def binary(ends: str) -> Call:
        if ends not in subject.packed:
            raise openvino.OpponentError(f"the file holds no network with {ends} ends")
        engine = next(engine for (its, _), engine in engines.items() if its == ends)
        return openvino.binary_network(*subject.packed[ends], images, threads, engine(images))

    sides: dict[str, Callable[[], Call]] = {OV_BINARY: lambda: binary("float"), OV_BYTE_ENDS: lambda: binary("int8")}
    if twin:
        sides[OV_FP32] = lambda: openvino.fp32_network(
            twin.fp32, planar, threads, subject.twin(torch.from_numpy(planar)).numpy()
        )
        sides[OV_INT8] = lambda: openvino.int8_network(twin.int8, planar, threads)
    for side, call in sides.items():
        if side in absent:
            continue
        try:
            calls[side] = call()
        except openvino.OpponentError as error:
            absent[side] = str(error)
