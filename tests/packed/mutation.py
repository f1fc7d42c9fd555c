"""Packed files with one change: in the bytes, the header, the graph or a tensor, or two files mixed."""

import copy
import json
import random
import struct
from pathlib import Path
from typing import Any

from tests.packed import tiny

NUMBERS = [0, 1, -1, 2, 3, 7, 8, 31, 32, 33, 255, 256, 4095, 4096, 4097, 2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32]
NUMBERS += [2**53, 2**62, 2**63, 2**64, 10**30, -(2**31), -(2**63), 0.5, -0.0, 1e-30, 1e30, 1e308]
NUMBERS += [float("inf"), float("-inf"), float("nan")]
VALUES = [None, True, False, "", "signs", "codes", "reals", "pixels", "planes", "float", "int8", "K", "none", "\ud800"]
VALUES += ["layer", "affine", "add", "sign", "flatten", "ones", "absent", "fp32", "fp64", "stem", "add1", "sign1"]
VALUES += [[], {}, [[]], [0], [1, 1], [2**62] * 2, "\0", "é" * 50]
PIECES = [b"0", b"9" * 18, b"-1", b"null", b"1e999", b"\0", b"NaN", b"[]", b"{}", b"[" * 900, b'"', b"\\ud800", b"\xff"]
# Quiet and signalling NaN, infinities, the largest, the smallest, -0, the ends of whole numbers.
PATTERNS = [0x7FC00000, 0x7F800001, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF, 0]


class Corpus:
    """The valid files of a folder, and mutations of them.

    Args:
        folder: Holds them, `*.safetensors`.
    """

    def __init__(self, folder: Path) -> None:
        self._files = [file.read_bytes() for file in sorted(folder.glob("*.safetensors"))]
        self._parts = [tiny.parts(content) for content in self._files]

    def mutated(self, chance: random.Random) -> bytes:
        """One file, changed in one to four ways."""
        index = chance.randrange(len(self._files))
        kind = chance.random()
        if kind < 0.2:
            return self._bytes(self._files[index], chance)
        if kind < 0.25:
            return spliced(self._files[index], chance.choice(self._files), chance)
        header, graph, data = (copy.deepcopy(part) for part in self._parts[index])
        data = bytearray(data)
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            which = chance.random()
            if which < 0.4:
                changed(graph, chance)
            elif which < 0.5:
                foreign(graph, chance.choice(self._parts)[1], chance)
            elif which < 0.6:
                changed(header, chance)
            else:
                overwritten(data, chance)
        text: Any = json.dumps(graph) if isinstance(graph, dict) else graph
        if chance.random() < 0.03:
            text = text[: chance.randrange(len(text) + 1)]
        header.pop("__metadata__", None)
        try:
            return tiny.joined(header, text, bytes(data))
        except (TypeError, ValueError):
            return bytes(data)

    def _bytes(self, content: bytes, chance: random.Random) -> bytes:
        """Flip, replace, remove, insert or double bytes of a file, or cut off its end."""
        found, length = bytearray(content), 8 + struct.unpack("<Q", content[:8])[0]
        for _ in range(chance.randint(1, 4)):
            # Mostly in the header: the tensors' bytes may be anything.
            place = chance.randrange(min(length, len(found)) if chance.random() < 0.9 else len(found)) if found else 0
            kind = chance.randrange(6)
            if kind == 0 and found:
                found[place] ^= 1 << chance.randrange(8)
            elif kind == 1:
                found[place : place + 1] = bytes([chance.choice(b'0123456789-.eE[]{}",:\\')])
            elif kind == 2:
                del found[place : place + chance.randint(1, 16)]
            elif kind == 3:
                found[place:place] = chance.choice(PIECES)
            elif kind == 4:
                other = chance.randrange(length)
                found[place : place + 8] = found[other : other + 8]
            elif chance.random() < 0.2:
                del found[chance.randrange(len(found) + 1) :]
        if chance.random() < 0.8:  # a header whose length is right gets further
            found[:8] = struct.pack("<Q", max(0, length - 8 + len(found) - len(content)))
        elif chance.random() < 0.3:
            found[:8] = struct.pack("<Q", chance.choice([0, 1, 2**31, 2**32, 2**63, 2**64 - 1, length, length + 1]))
        return bytes(found)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every field of a JSON document: its object or list, and its name or index there."""
    found, left = [], [document]
    while left:
        here = left.pop()
        items = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
        for key, value in items:
            found.append((here, key))
            left.append(value)
    return found


def changed(document: Any, chance: random.Random) -> None:
    """Change, remove, duplicate or move a field of a document."""
    every = places(document)
    if not every:
        return
    within, key = chance.choice(every)
    kind, value = chance.randrange(8), within[key]
    if kind < 4 and isinstance(value, int | float) and not isinstance(value, bool):
        near = [value + 1, value - 1, value * 2, value // 2, -value]
        within[key] = chance.choice(near if kind < 2 else NUMBERS)
    elif kind < 4:
        numbers = [(w, k) for w, k in every if type(w[k]) in (int, float)]
        if numbers:
            within, key = chance.choice(numbers)
            within[key] = chance.choice([*NUMBERS, within[key] + 1, within[key] - 1, within[key] * 2])
    elif kind == 4:
        del within[key]
    elif kind == 5:
        within[key] = chance.choice(VALUES)
    elif kind == 6:
        again = copy.deepcopy(value)
        if isinstance(within, list):
            within.insert(key, again)
        else:
            within[f"{key}2"] = again
    else:
        other, name = chance.choice(every)
        within[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(value)


def foreign(graph: Any, other: Any, chance: random.Random) -> None:
    """Give a field the value of a field of the same name in another graph."""
    within, key = chance.choice(places(graph) or [({}, "")])
    same = [w[k] for w, k in places(other) if k == key]
    if same:
        within[key] = copy.deepcopy(chance.choice(same))


def overwritten(data: bytearray, chance: random.Random) -> None:
    """Replace one to eight numbers of the tensors with unusual ones, or move the end of the data."""
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(max(1, len(data) // 4)) * 4
        data[at : at + 4] = struct.pack("<I", chance.choice(PATTERNS))[: max(0, len(data) - at)]
    if chance.random() < 0.1:
        del data[chance.randrange(len(data) + 1) :]
    elif chance.random() < 0.1:
        data += bytes(chance.randint(1, 64))


def spliced(one: bytes, other: bytes, chance: random.Random) -> bytes:
    """Join the start of a file to the end of another, or its header to the other's tensors."""
    if chance.random() < 0.5:
        first, second = (8 + struct.unpack("<Q", content[:8])[0] for content in (one, other))
    else:
        first, second = chance.randrange(len(one)), chance.randrange(len(other))
    return one[:first] + other[second:]
