"""What was measured of the packed network: the packed files of the runs, and the JSON of `xnorlit bench`."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from xnorlit.errors import UserError
from xnorlit.runs import Run

_METADATA = "xnorlit.packed"
_FP32 = "torch's best fp32"


def packed_files(run: Run) -> list[dict[str, Any]]:
    """Each packed file of a run: its ends, bytes, checkpoint, and the accuracy it reached on its engine, if it says so.

    `factor` is how many times fewer the bytes are than those of the weights in fp32. A file that cannot be
    read is listed with the reason.
    """
    return [
        {"seed": run.place.seed, "run": str(run.path), "ends": ends, "file": name, "bytes": size}
        | {"factor": run.summary.float_bits / (8 * size) if size else None, **_reached(run.path / name)}
        for ends, name in (("float", "packed.safetensors"), ("int8", "packed-int8.safetensors"))
        if (run.path / name).is_file()
        for size in ((run.path / name).stat().st_size,)
    ]


def _reached(file: Path) -> dict[str, Any]:
    try:
        with safe_open(file, framework="numpy") as tensors:
            found = json.loads((tensors.metadata() or {}).get(_METADATA, "null"))
        accuracy, source = found["accuracy"], found.get("source") or {}
        reached: dict[str, Any] | None = None
        if accuracy is not None:
            reached = {key: _number(accuracy[key]) for key in ("top1", "top5", "images")}
            reached["listing_sha256"] = str(accuracy["listing_sha256"])
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return {"accuracy": None, "checkpoint": None, "problem": f"it cannot be read ({error}); pack the run again"}
    return {"accuracy": reached, "checkpoint": str(source.get("checkpoint") or "") or None, "problem": None}


def read_bench(file: Path) -> dict[str, Any]:
    """Times and bytes of a bench: the machine, the network's times, each layer's best ratio to fp32, the warnings.

    Raises:
        UserError: The file is missing, or not what `xnorlit bench --json` writes.
    """
    again = f"Measure once more: xnorlit bench --json {file}."
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}. {again}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged: JSON was expected ({error}). {again}") from error
    if not isinstance(found, dict) or found.get("format") != 1:
        raise UserError(f"{file} is not what xnorlit bench --json writes. {again}")
    try:
        return {
            "file": str(file),
            "network": str(found["subject"]["network"]),
            "weights": str(found["subject"]["weights"]),
            "cpu": str(found["machine"].get("cpu", "")),
            "rows": [part for row in found["rows"] for part in _rows(row)],
            "files": {str(ends): int(size) for ends, size in found["memory"]["files"].items()},
            "fp32": int(found["memory"]["fp32"]),
            "binary_fp32": int(found["memory"]["binary_fp32"]),
            "binary_disk": int(found["memory"]["binary_disk"]),
            "binary_factor": int(found["memory"]["binary_fp32"]) / int(found["memory"]["binary_disk"]),
            "warnings": [str(warning) for warning in found["warnings"]],
        }
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration, ZeroDivisionError) as error:
        raise UserError(f"{file} lacks what xnorlit bench --json writes ({error!r}). {again}") from error


def _rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Seconds of torch's best fp32 and of our fastest kernels with each kind of ends, and the ratio of the rounds.

    The ratio is the median of the rounds' ratios, which on a busy machine may differ from the ratio of the medians.
    """
    ours = {side: _number(of["median"]) for side, of in row["seconds"].items() if _is_ours(side)}
    kinds: dict[str, list[str]] = {}
    for side in ours:
        kinds.setdefault(next((ends for ends in ("float", "int8") if side.endswith(f"{ends} ends")), ""), []).append(
            side
        )
    return [_row(row, ends, min(sides, key=lambda side: ours[side])) for ends, sides in kinds.items()]


def _row(row: dict[str, Any], ends: str, side: str) -> dict[str, Any]:
    ratio = next(found for found in row["ratios"] if found["over"] == _FP32 and found["ours"] == side)
    return {
        "part": str(row["part"]),
        "batch": int(row["batch"]),
        "threads": int(row["threads"]),
        "ends": ends,
        "side": side,
        "seconds": _figure(row["seconds"][side]),
        "fp32_seconds": _figure(row["seconds"][row["best_fp32"]]),
        "ratio": _figure(ratio),
        "of_medians": _number(row["seconds"][row["best_fp32"]]["median"]) / _number(row["seconds"][side]["median"]),
    }


def _figure(found: dict[str, Any]) -> dict[str, float]:
    """Median and quartiles over the rounds."""
    return {key: _number(found[key]) for key in ("median", "lower", "upper")}


def _is_ours(side: str) -> bool:
    return side.startswith("packed") and not side.endswith("one thread")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a number was expected, not {value!r}")
    return value
