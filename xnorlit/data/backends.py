"""Chooses the reader of a split (memory, files, or a .beton through FFCV) and states the reason."""

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xnorlit.data.augment import View
from xnorlit.data.listing import Listing
from xnorlit.data.memory import MemoryReader
from xnorlit.data.pictures import UnreadableImageError, read_rgb
from xnorlit.data.prepare import in_order, write_splits
from xnorlit.data.reader import Reader
from xnorlit.data.say import progress, say
from xnorlit.data.sources import BetonFile, ImageArray, ImageFiles, Source, Split, open_beton
from xnorlit.data.storage import Storage
from xnorlit.edge import atomic
from xnorlit.edge.lock import held
from xnorlit.errors import UserError

Name = Literal["auto", "ffcv", "folder"]

# Sets of one image size below this limit are kept in memory, without decoding and workers.
MEMORY_LIMIT = 1 << 30
_SMALL = 64  # images up to this size are stored raw, because JPEG would blur them and save little


@dataclass(frozen=True)
class Choice:
    """A backend and the reason for it, as printed."""

    backend: Literal["ffcv", "folder"]
    reason: str
    readers: dict[str, Reader]
    listings: dict[str, Listing]


def choose(
    source: Source, requested: Name, views: dict[str, View], batch_size: int, workers: int, cache: Path
) -> Choice:
    """Open each split of `views` with the requested or a suitable backend.

    Args:
        source: The data set.
        requested: `auto` keeps generated and downloaded sets in memory and reads folders through FFCV. Without FFCV it
            reads folders into memory if they fit, otherwise file by file.
        views: The view of each split; other splits are not opened.
        batch_size: Samples per batch and process.
        workers: Decoding threads or processes.
        cache: Folder for prepared .beton files.
    """
    # One split under two names (val and test) is opened once.
    parts = {split: source.splits[split] for split in views}
    betons = [part for part in parts.values() if isinstance(part, BetonFile)]
    if betons:
        if requested == "folder":
            raise _beton_needs_ffcv(betons[0], "backend folder reads image files only")
        if missing := ffcv_missing():
            raise _beton_needs_ffcv(betons[0], f"FFCV cannot be imported ({missing})")
        return _ffcv(parts, views, batch_size, workers, "it is a .beton")
    if requested == "ffcv":
        if missing := ffcv_missing():
            raise UserError(
                f"backend is ffcv, but FFCV cannot be imported ({missing}). Install it with `pip install "
                "'xnorlit[ffcv]'` (it needs a C++ compiler, OpenCV and libjpeg-turbo), or use backend auto or folder."
            )
        return _prepared(source, parts, views, batch_size, workers, cache, "as asked")

    files = any(isinstance(part, ImageFiles) for part in parts.values())
    # Importing FFCV compiles for seconds, so skip it where it is not needed.
    missing = ffcv_missing() if requested == "auto" and files else None
    if requested == "auto" and files and not missing:
        return _prepared(source, parts, views, batch_size, workers, cache, "FFCV is installed")
    held = _in_memory(parts, workers)
    if held is not None:
        total = sum({id(images): images.nbytes for images in held.values()}.values())
        reason = f"{total / 1e6:,.0f} MB in memory"
        if files and requested == "auto":
            reason += f"; FFCV is missing: {missing}"
        readers: dict[str, Reader] = {split: MemoryReader(images) for split, images in held.items()}
        return Choice("folder", reason, readers, {split: part.listing for split, part in parts.items()})
    from xnorlit.data.folder import FolderReader

    reason = "as requested" if requested == "folder" else f"FFCV is missing: {missing}"
    trees = [part for part in {id(part): part for part in parts.values()}.values() if isinstance(part, ImageFiles)]
    _refuse_unreadable(trees, cache, max(1, workers))
    files = {id(part): FolderReader(part, workers) for part in trees}
    readers = {split: files[id(part)] for split, part in parts.items()}
    reason += f"; {workers} worker processes"
    return Choice("folder", reason, readers, {split: part.listing for split, part in parts.items()})


def ffcv_missing() -> str | None:
    """Why FFCV cannot be used, or None when it can."""
    try:
        import xnorlit.data.ffcv_reader  # noqa: F401
    except (
        ImportError,
        OSError,
        AttributeError,
    ) as error:  # not installed, a library is missing, or numba's API has changed
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None


def _beton_needs_ffcv(part: BetonFile, why: str) -> UserError:
    return UserError(
        f"{part.beton.path} is a .beton, and {why}. Install FFCV with `pip install 'xnorlit[ffcv]'` and choose backend "
        "auto or ffcv, or pass the image folder that it was made from."
    )


def _in_memory(parts: dict[str, Split], workers: int) -> dict | None:
    from xnorlit.data.folder import read_all

    done: dict[int, object] = {}
    for part in parts.values():
        if id(part) not in done:
            done[id(part)] = (
                part.images if isinstance(part, ImageArray) else read_all(part, MEMORY_LIMIT, max(1, workers))
            )
        if done[id(part)] is None:
            return None
    return {split: done[id(part)] for split, part in parts.items()}


def _prepared(
    source: Source,
    parts: dict[str, Split],
    views: dict[str, View],
    batch_size: int,
    workers: int,
    cache: Path,
    why: str,
) -> Choice:
    storage = storage_for(next(iter(views.values())).size)
    # All splits of the source, each once, so that runs with and without a hold-out share the prepared files.
    distinct = {id(part): split for split, part in reversed(source.splits.items())}
    images = {split: source.splits[split] for split in reversed(distinct.values())}
    folder = cache / "prepared" / f"{source.name}-{_key(images, storage)}"

    def ready() -> bool:
        return all((folder / f"{split}.beton.json").is_file() for split in images)

    if ready():
        say(f"FFCV reads what was prepared in {folder}")
    else:
        with held(folder, lambda: say(f"waiting for another process that is preparing {folder}")):
            if not ready():
                say(f"preparing {source.name} once for FFCV, in {folder}")
                # The folder's name states the images and the options, so a .beton without its sidecar is what a killed
                # process left of the same files.
                write_splits(images, folder, storage, source=source.name, workers=workers, overwrite=True)
    opened = {part: open_beton(folder / f"{split}.beton") for part, split in distinct.items()}
    return _ffcv({split: opened[id(part)] for split, part in parts.items()}, views, batch_size, workers, why)


def _ffcv(parts: dict[str, Split], views: dict[str, View], batch_size: int, workers: int, why: str) -> Choice:
    from xnorlit.data.ffcv_reader import FfcvReader

    readers: dict[tuple, Reader] = {}
    chosen: dict[str, Reader] = {}
    threads = max(1, workers)
    for split, part in parts.items():
        view, beton = views[split], part.beton
        # Splits of one file and one kind of view share a compiled Loader.
        key = (beton.path, view.size, view.crop.reflect)
        if key not in readers:
            readers[key] = FfcvReader(beton, batch_size, view.size, view.crop.reflect, threads)
        chosen[split] = readers[key]
    reason = f"{why}; {threads} {'thread' if threads == 1 else 'threads'}"
    return Choice("ffcv", reason, chosen, {split: part.listing for split, part in parts.items()})


def _refuse_unreadable(trees: list[ImageFiles], cache: Path, threads: int) -> None:
    """Decode each picture once, so that unreadable ones are reported before training, and remember the result.

    Raises:
        UserError: Some pictures are unreadable.
    """
    digest = hashlib.sha256()
    for files in trees:
        digest.update(f"{files.root.resolve()}{files.listing.sha256}".encode(errors="surrogateescape"))
        _add_files(digest, files)
    note = cache / "readable" / digest.hexdigest()[:12]
    if note.is_file():
        return
    total = sum(len(files.listing) for files in trees)
    say(f"checking once that {total:,} pictures can be read")
    bad: list[UnreadableImageError] = []
    for files in trees:
        found = in_order(partial(_unreadable, files), len(files.listing), threads)
        bad += [error for error in progress(found, len(files.listing), "checking") if error]
    if len(bad) == 1:
        raise bad[0]
    if bad:
        listed = "\n".join(f"  {error}" for error in bad[:5])
        raise UserError(f"{len(bad):,} of {total:,} pictures cannot be read:\n{listed}")
    with suppress(OSError), atomic.path(note) as made:  # With a read-only cache, the next run repeats the check.
        made.touch()


def _unreadable(files: ImageFiles, index: int) -> UnreadableImageError | None:
    try:
        read_rgb(files.path(index), coarse=True)
    except UnreadableImageError as error:
        return error
    return None


def storage_for(size: int) -> Storage:
    """How to store a set for pictures of `size` pixels: a shorter side of 256 for 224, JPEG above 64 pixels."""
    return Storage(shorter_side=math.ceil(size * 8 / 7), jpeg=0.0 if size <= _SMALL else 1.0)


def _key(parts: dict[str, Split], storage: Storage) -> str:
    digest = hashlib.sha256(repr(storage).encode())
    for split, part in parts.items():
        digest.update(f"{split}{part.listing.sha256}".encode())
        if isinstance(part, ImageFiles):
            _add_files(digest, part)
    return digest.hexdigest()[:12]


def _add_files(digest: Any, files: ImageFiles) -> None:
    """Add sizes and times of a split's files, because names alone would not reveal replaced files."""
    for index in range(len(files.listing)):
        path = files.path(index)
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(
                f"{path} cannot be read as an image: {error.strerror}. Repair or remove it, or skip such files with "
                "`xnorlit prepare --skip-bad`."
            ) from error
        digest.update(f"{status.st_size},{status.st_mtime_ns};".encode())
