"""Measurements of the packed network: the runs' packed files, and the JSON of `xnorlit bench`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from xnorlit.edge.fields import FieldError, Fields, read_json
from xnorlit.runs import Run

PACKED = {"packed.safetensors": "float", "packed-int8.safetensors": "int8"}
"""The ends of each packed file that a run's folder may hold."""

_METADATA = "xnorlit.packed"
_FP32 = "torch's best fp32"


def packed_files(run: Run) -> list[dict[str, Any]]:
    """Each packed file of a run: its ends, bytes, checkpoint, and its accuracy on the engine if it records one.

    `factor` is the size of the weights in fp32 over the size of the file. An unreadable file is listed with the reason.
    """
    return [
        {"seed": run.place.seed, "run": str(run.path), "ends": ends, "file": name, "bytes": size}
        | {"factor": run.summary.float_bits / (8 * size) if size else None, **_reached(run.path / name)}
        for name, ends in PACKED.items()
        if (run.path / name).is_file()
        for size in ((run.path / name).stat().st_size,)
    ]


def _reached(file: Path) -> dict[str, Any]:
    try:
        with safe_open(file, framework="numpy") as tensors:
            found = Fields(json.loads((tensors.metadata() or {}).get(_METADATA, "null")))
        reached: dict[str, Any] | None = None
        if found.has("accuracy") or found.take("accuracy"):
            accuracy = found.object("accuracy")
            reached = {key: accuracy.number(key, 0, 1) for key in ("top1", "top5")}
            reached |= {"images": accuracy.integer("images"), "listing_sha256": accuracy.text("listing_sha256")}
        checkpoint = found.object("source").optional_text("checkpoint") if found.has("source") else None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        return {"accuracy": None, "checkpoint": None, "problem": f"it cannot be read ({error}); pack the run again"}
    return {"accuracy": reached, "checkpoint": checkpoint or None, "problem": None}


def measures(bench: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether a bench measured the network of the record's runs, with as large images and as many classes.

    Args:
        bench: What `read_bench` found. Older files lack the size and the classes.
        record: The page's record.
    """
    sizes, classes = (bench["image_size"], record["image_size"]), (bench["classes"], record["comparison"]["classes"])
    alike = all(None in pair or pair[0] == pair[1] for pair in (sizes, classes))
    return record["networks"] == [bench["network"]] and alike


def read_bench(file: Path) -> dict[str, Any]:
    """Times and bytes of a bench: machine, times of the network, best ratio of each layer to fp32, and warnings.

    Raises:
        UserError: The file is missing, or not what `xnorlit bench --json` writes.
    """
    found = read_json(file, _bench, advice=f"Measure again: xnorlit bench --json {file}.")
    return {"file": str(file), **found}


def _bench(fields: Fields) -> dict[str, Any]:
    if (version := fields.integer("format")) != 1:
        raise FieldError(f"format: expected 1, found {version}")
    subject, machine, memory = fields.object("subject"), fields.object("machine"), fields.object("memory")
    files, binary = memory.object("files"), memory.integer("binary_fp32")
    on_disk = memory.integer("binary_disk", 1)
    return {
        "network": subject.text("network"),
        **{name: subject.integer(name, 1) if subject.has(name) else None for name in ("image_size", "classes")},
        "weights": subject.text("weights"),
        "cpu": machine.optional_text("cpu") or "",
        "rows": [part for row in fields.objects("rows") for part in _rows(row)],
        "files": {ends: files.integer(ends) for ends in files.names()},
        "fp32": memory.integer("fp32"),
        "binary_fp32": binary,
        "binary_disk": on_disk,
        "binary_factor": binary / on_disk,
        "warnings": [str(warning) for warning in fields.take("warnings")],
    }


def _rows(row: Fields) -> list[dict[str, Any]]:
    """Seconds of torch's best fp32 and of our fastest kernels with each kind of ends, and the ratio of the rounds.

    The ratio is the median of the rounds' ratios. On a busy machine it may differ from the ratio of the medians.
    """
    seconds = row.object("seconds")
    fp32 = _figure(seconds.object(row.text("best_fp32")))
    ours = {side: _figure(seconds.object(side)) for side in seconds.names() if _is_ours(side)}
    ratios = {of.text("ours"): of for of in row.objects("ratios") if of.text("over") == _FP32}
    shared = {"part": row.text("part"), "batch": row.integer("batch"), "threads": row.integer("threads")}
    kinds: dict[str, list[str]] = {}
    for side in ours:
        kinds.setdefault(next((e for e in ("float", "int8") if side.endswith(f"{e} ends")), ""), []).append(side)
    found = []
    for ends, sides in kinds.items():
        side = min(sides, key=lambda side: ours[side]["median"])
        if side not in ratios:
            raise FieldError(f"{row.at('ratios')}: expected one of {side} over {_FP32}, found none")
        found.append(
            {
                **shared,
                "ends": ends,
                "side": side,
                "seconds": ours[side],
                "fp32_seconds": fp32,
                "ratio": _figure(ratios[side]),
                "of_medians": fp32["median"] / ours[side]["median"],
            }
        )
    return found


def _figure(found: Fields) -> dict[str, float]:
    """Median and quartiles over the rounds."""
    return {key: found.number(key, least=1e-12) for key in ("median", "lower", "upper")}


def _is_ours(side: str) -> bool:
    return side.startswith("packed") and not side.endswith("one thread")
