"""The document as tables of plain cells, for the terminal and for Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xnorlit.bench.row import BEST_FP32, OF_LAYERS, OF_NETWORKS, OV_INSIDE, packed

MEGABYTE = 10**6


@dataclass(frozen=True)
class Table:
    """A title, headings and rows of text; the first columns are text, the rest figures."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1


def tables(document: dict[str, Any], *, meanings: bool = False) -> Iterator[Table]:
    """Every table of a document, the verdicts first.

    Args:
        document: Document of a bench.
        meanings: Whether to list each key's meaning, which needs a wide page.
    """
    yield keys(document, meanings=meanings)
    yield limits(document)
    yield layers(document)
    yield from opponents(document, network=False)
    yield networks(document)
    yield from opponents(document, network=True)
    yield memory(document)
    yield cold_start(document)


def keys(document: dict[str, Any], *, meanings: bool) -> Table:
    """Measured, must and aim of each key."""
    rows = []
    for name, key in document["keys"].items():
        beside = ", ".join(f"{isa} {figure['median']:.3g}" for isa, figure in key["beside"].items())
        measured = _figure(key["measured"]) if key["measured"] else "-"
        aim = "-" if key["aim"] is None else f"{key['aim']:g}"
        must = f"{'<= ' if key['less_is_better'] else ''}{key['must']:g}"
        names = (name, key["meaning"]) if meanings else (name,)
        rows.append((*names, measured, beside, must, aim, key["verdict"]))
    names = ("key", "what") if meanings else ("key",)
    headings = (*names, "measured (quartiles)", "beside", "must", "aim", "verdict")
    return Table(f"Against the targets, on {document['limits_path']}", headings, tuple(rows), text_columns=len(names))


def limits(document: dict[str, Any]) -> Table:
    """The machine's limits by kernels."""
    found, peak = document["limits"], document["limits"]["fp32_peak"]
    rows = [
        (
            isa,
            _giga(found["floats"][isa]),
            f"{_giga(found['bits'][isa])} ({found['bits'][isa] / peak:.1f} x)",
            f"{_giga(found['tile'][isa])} ({found['tile'][isa] / peak:.1f} x)",
        )
        for isa in found["bits"]
    ]
    title = f"Limits of one core, GMAC/s; x over its fp32 peak of {_giga(peak)}"
    return Table(title, ("kernels", "fp32 peak", "bits peak", "tile"), tuple(rows))


def layers(document: dict[str, Any]) -> Table:
    """Each layer on each isa: its time, its ratio, and its share of the machine's own limit."""
    rows = []
    for row in _rows(document, network=False):
        for side, seconds in _ours(row):
            isa = side.split()[1]
            speed = row["macs"] / seconds["median"]
            share = speed / row["threads"] / document["limits"]["bits"][isa]
            rows.append(
                (
                    row["part"],
                    isa,
                    str(row["batch"]),
                    str(row["threads"]),
                    _milliseconds(seconds),
                    _milliseconds(inside) if (inside := row["seconds"].get(f"{side} inside")) else "-",
                    _ratio(row, BEST_FP32, side),
                    f"{row['first_call_ratios'][side]['median']:.1f}",
                    _scaling(row, side),
                    _giga(speed),
                    f"{share:.0%}",
                )
            )
    headings = (
        "layer",
        "kernels",
        "batch",
        "threads",
        "ms",
        "inside ms",
        "x best fp32",
        "first call x",
        "x one thread",
        "GMAC/s",
        "share",
    )
    return Table("Binary layers, packing of the input included", headings, tuple(rows), text_columns=2)


def networks(document: dict[str, Any]) -> Table:
    """The whole network with each kind of ends on each instruction set."""
    rows = []
    for row in _rows(document, network=True):
        for side, seconds in _ours(row):
            _, isa, ends, *_ = side.split()
            cells = (ends, isa, str(row["batch"]), str(row["threads"]), _milliseconds(seconds))
            ratios = (_ratio(row, opponent, side) for opponent in (BEST_FP32, "fp32"))
            rows.append((*cells, *ratios, _scaling(row, side)))
    headings = ("ends", "kernels", "batch", "threads", "ms", "x best fp32", "x fp32 contiguous", "x one thread")
    return Table("Whole network, pixels to logits", headings, tuple(rows), text_columns=2)


def opponents(document: dict[str, Any], *, network: bool) -> Iterator[Table]:
    """The opponents' times and our ratio over each with the best kernels; OpenVINO has a table of its own."""
    best, every = document["limits_path"], OF_NETWORKS if network else OF_LAYERS
    theirs = tuple(side for side in every if side.startswith("OpenVINO"))
    what = "whole network (fp32 ends unless named)" if network else "layers"
    for sides, who in ((tuple(side for side in every if side not in theirs), "The others"), (theirs, "OpenVINO")):
        rows = []
        for row in _rows(document, network=network):
            ours = [side for side, _ in _ours(row) if side.split()[1] == best]
            avx2 = [side for side, _ in _ours(row) if side.split()[1] == "avx2"]
            inside = [packed(best, inside=True)]
            mine = {side: avx2 if side.endswith("avx2") else inside if side == OV_INSIDE else ours for side in sides}
            cells = [_opponent(row, side, mine[side]) for side in sides]
            compiling = f"{row['compile_seconds']:.1f}" if row["compile_seconds"] else "-"
            ending = () if sides is theirs else (compiling,)
            rows.append((row["part"], str(row["batch"]), str(row["threads"]), *cells, *ending))
        names = (side.removeprefix("OpenVINO ") for side in sides)
        headings = ("part", "batch", "threads", *names, *(() if sides is theirs else ("compile s",)))
        yield Table(f"{who}, {what}: ms, and how many times longer than ours on {best}", headings, tuple(rows))


def _opponent(row: dict[str, Any], opponent: str, ours: list[str]) -> str:
    if opponent not in row["seconds"]:
        return "-"
    took = 1000 * row["seconds"][opponent]["median"]
    mine = next((side for side in ours if ("int8 ends" in side) == ("int8 ends" in opponent)), "")
    return f"{took:.3g} ({_ratio(row, opponent, mine, short=True)} x)"


def memory(document: dict[str, Any]) -> Table:
    """Bytes on disk and in memory."""
    found = document["memory"]
    whole, binary = found["fp32"], found["binary_fp32"]
    rows = [("float twin, fp32", _mega(whole), _mega(whole), "-", "1")]
    for ends, size in found["files"].items():
        grown = found["process"][ends]
        cells = (_mega(size), _mega(found["resident"][ends]), "-" if grown is None else _mega(grown))
        rows.append((f"packed, {'fp32' if ends == 'float' else ends} ends", *cells, f"{whole / size:.1f}"))
    rows.append(("binary layers, fp32", _mega(binary), _mega(binary), "-", "1"))
    smaller = f"{binary / found['binary_disk']:.2f} / {binary / found['binary_resident']:.2f}"
    rows.append(("binary layers, packed", _mega(found["binary_disk"]), _mega(found["binary_resident"]), "-", smaller))
    headings = ("MB", "on disk", "resident", "process grows by", "times smaller")
    return Table("Memory", headings, tuple(rows))


def cold_start(document: dict[str, Any]) -> Table:
    """Whole processes."""
    found = document["cold_start"]
    rows = [
        ("xnorlit classify FILE PHOTO", _milliseconds(found["classify"]), _figure(found["ratio"])),
        ("the float twin in torch", _milliseconds(found["twin"]), "1"),
    ]
    return Table("One photo, from a cold process to the printed answer", ("process", "ms", "x torch"), tuple(rows))


def _rows(document: dict[str, Any], *, network: bool) -> list[dict[str, Any]]:
    return [row for row in document["rows"] if (row["part"] == "network") == network]


def _ours(row: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    sides, others = row["seconds"].items(), ("one thread", "inside")
    return [(side, found) for side, found in sides if side.startswith("packed") and not side.endswith(others)]


def _ratio(row: dict[str, Any], opponent: str, ours: str, *, short: bool = False) -> str:
    for found in row["ratios"]:
        if (found["over"], found["ours"]) == (opponent, ours):
            return f"{found['median']:.1f}" if short else _figure(found)
    return "-"


def _scaling(row: dict[str, Any], side: str) -> str:
    found = row["threads_over_one"].get(side)
    return _figure(found) if found else "-"


def _figure(found: dict[str, float]) -> str:
    if found["rounds"] == 1:
        return f"{found['median']:.2f}"
    digits = 2 if found["median"] < 10 else 1
    return f"{found['median']:.{digits}f} ({found['lower']:.{digits}f} - {found['upper']:.{digits}f})"


def _milliseconds(found: dict[str, float]) -> str:
    return f"{1000 * found['median']:.3g}"


def _giga(value: float) -> str:
    return f"{value / 1e9:.0f}"


def _mega(value: float) -> str:
    return f"{value / MEGABYTE:.2f}"
