"""The JSON file beside a .beton: data that the format cannot hold, and a hash of the file."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xnorlit.data.beton import Beton, open_beton
from xnorlit.data.listing import Listing
from xnorlit.data.say import say
from xnorlit.edge import atomic
from xnorlit.edge.fields import FieldError, Fields, read_json
from xnorlit.errors import UserError

FORMAT = 1
_CHUNK = 1 << 22
_WORTH_SAYING = 1 << 30


@dataclass(frozen=True)
class Sidecar:
    """The content of `train.beton.json` about `train.beton`."""

    classes: list[str]
    counts: dict[str, int]
    samples: int
    listing_sha256: str
    """Hash of the stored samples."""
    source_listing_sha256: str
    """Hash of all samples, including skipped ones."""
    beton_sha256: str
    beton_bytes: int
    options: dict[str, Any]
    source: str
    skipped: list[dict[str, str]] = field(default_factory=list)
    """Name and reason of each unreadable file that was skipped."""
    format: int = FORMAT


def path_of(beton: Path) -> Path:
    """`train.beton` -> `train.beton.json`."""
    return beton.with_name(beton.name + ".json")


def save(path: Path, sidecar: Sidecar) -> None:
    """Write a sidecar's JSON to `path`."""
    path.write_text(json.dumps(asdict(sidecar), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(beton: Path) -> Sidecar:
    """The sidecar of a .beton.

    Raises:
        UserError: It is missing or is not a sidecar.
    """
    path = path_of(beton)
    if not path.exists():
        raise UserError(
            f"{beton} has no sidecar {path.name} (class names, hashes). Keep the two together, or write both with "
            "`xnorlit prepare SRC DST`."
        )
    return read_json(path, _sidecar, advice="Write it again with `xnorlit prepare SRC DST`.")


def _sidecar(fields: Fields) -> Sidecar:
    if (version := fields.integer("format")) != FORMAT:
        raise FieldError(f"format: expected {FORMAT}, found {version}")
    counts = fields.object("counts")
    found = fields.record(
        Sidecar,
        classes=list(fields.texts("classes")),
        counts={name: counts.integer(name) for name in counts.names()},
        options=fields.take("options"),
        format=version,
        skipped=[{name: of.text(name) for name in of.names()} for of in fields.objects("skipped")],
    )
    fields.done()
    return found


def listing(beton: Beton, sidecar: Sidecar) -> Listing:
    """The listing of a .beton; it has the hash of the names instead of the names."""
    return Listing(tuple(sidecar.classes), (), beton.labels, sidecar.listing_sha256)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def verify(path: Path, *, pixels: bool = True) -> tuple[Beton, Sidecar]:
    """Open a .beton and check it against its sidecar.

    The whole file is hashed once. The result is stored beside it and stays valid while size and modification time are
    unchanged.

    Args:
        path: The .beton.
        pixels: Whether to hash the file; otherwise only tables and counts are compared.

    Raises:
        UserError: The file is incomplete, or is not the file of the sidecar.
    """
    beton, described = open_beton(path), load(path)
    labels = np.bincount(beton.labels.clip(min=0), minlength=len(described.classes))
    if (beton.labels < 0).any() or dict(zip(described.classes, labels.tolist(), strict=False)) != described.counts:
        raise _mismatch(path, f"it holds {len(beton.labels):,} samples in other classes than its sidecar's counts")
    if path.stat().st_size != described.beton_bytes:
        raise _mismatch(path, f"it has {path.stat().st_size:,} bytes, its sidecar states {described.beton_bytes:,}")
    if pixels and _remembered(path) != described.beton_sha256:
        if described.beton_bytes > _WORTH_SAYING:
            say(f"checking {path} ({described.beton_bytes / 1e9:.1f} GB) against its SHA-256, once")
        found = file_sha256(path)
        if found != described.beton_sha256:
            raise _mismatch(path, f"its SHA-256 is {found[:12]}…, its sidecar states {described.beton_sha256[:12]}…")
        remember(path, found)
    return beton, described


def remember(path: Path, sha256: str) -> None:
    """Store the hash of a .beton beside it; in a read-only folder the next run hashes again."""
    try:
        with atomic.path(_note(path)) as note:
            note.write_text(json.dumps([*(stamp(path) or ()), sha256]))
    except OSError:
        return


def _remembered(path: Path) -> str | None:
    try:
        size, time, sha256 = json.loads(_note(path).read_text())
    except (OSError, ValueError):
        return None
    return sha256 if (size, time) == stamp(path) else None


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")


def stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, which change with its content; None if it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _mismatch(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} is not the file that {path_of(path).name} describes: {why}. It was damaged or replaced; write both "
        "again with `xnorlit prepare SRC DST`."
    )
