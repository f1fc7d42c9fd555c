"""Convert image files to .beton files that load fast: decode once, and store at the size that training needs."""

import errno
import shlex
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from xnorlit.data import beton, beton_writer, sidecar, splits
from xnorlit.data.beton_writer import Encoded
from xnorlit.data.listing import Listing
from xnorlit.data.pictures import UnreadableImageError
from xnorlit.data.say import progress, say
from xnorlit.data.sidecar import Sidecar
from xnorlit.data.storage import Storage
from xnorlit.edge import atomic, console
from xnorlit.edge.lock import held
from xnorlit.edge.names import printable
from xnorlit.edge.processes import cores
from xnorlit.errors import UserError

_SAMPLED = 48  # images encoded beforehand to estimate the space needed
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Images(Protocol):
    """A split that can be prepared: files, or an array."""

    @property
    def listing(self) -> Listing:
        """Names, labels, classes."""
        ...

    def open(self, index: int) -> Image.Image:
        """A sample as 8-bit RGB."""
        ...


@dataclass
class Prepared:
    """What was written for a split."""

    path: Path
    samples: int
    bytes: int
    skipped: list[dict[str, str]] = field(default_factory=list)


def prepare(
    src: Path,
    dst: Path,
    *,
    shorter_side: int | None = None,
    longest_side: int | None = None,
    jpeg: float = 1.0,
    quality: int = 90,
    val_labels: Path | None = None,
    skip_bad: bool = False,
    workers: int = 0,
    overwrite: bool = False,
) -> dict[str, Prepared]:
    """Write train.beton and val.beton, each with a sidecar, from an image folder tree or an ImageNet directory.

    SRC holds train/ and val/ (or test/), each with a folder per class; ImageNet's validation images may also be flat
    in val/ beside the devkit's ground truth or a mapping file. An interrupted run leaves nothing that looks finished.

    Args:
        src: Image folder tree, or ImageNet directory.
        dst: Folder for the .beton files.
        shorter_side: Resize larger images so that their shorter side has this many pixels (256 for 224-pixel crops).
        longest_side: Resize larger images so that their longer side has this many pixels.
        jpeg: Share of the images to store as JPEG, 0 to 1; the rest as raw pixels: ten times larger, twice as fast.
        quality: JPEG quality, 1 to 100.
        val_labels: File with the classes of a flat validation folder; default: search for it.
        skip_bad: Skip unreadable files, and list and count them in the sidecar, instead of stopping at the first.
        workers: Decoding and encoding threads; 0 takes all cores.
        overwrite: Replace .beton files of other images or options.

    Raises:
        UserError: Bad input, an unreadable file, or not enough space.
    """
    storage = Storage(shorter_side, longest_side, jpeg, quality)
    found = splits.find(Path(src), val_labels)
    if found["val"] is found.get("test"):
        say(f"{src} has no val/, so val.beton is made from test/")
    with held(Path(dst), lambda: say(f"waiting for another process that is writing to {dst}")):
        done = write_splits(
            {split: found[split] for split in ("train", "val")},
            Path(dst),
            storage,
            source=Path(src).resolve().name,
            skip_bad=skip_bad,
            workers=workers,
            overwrite=overwrite,
        )
    counts = " and ".join(f"{part.samples:,} {split}" for split, part in done.items())
    skipped = sum(len(part.skipped) for part in done.values())
    console.say("done", f"{dst}: {counts} images; {skipped:,} unreadable files skipped")
    console.say("next", f"xnorlit train xnor --data {shlex.quote(str(dst))}")
    return done


def write_splits(
    images: dict[str, Images],
    dst: Path,
    storage: Storage,
    *,
    source: str,
    skip_bad: bool = False,
    workers: int = 0,
    overwrite: bool = False,
) -> dict[str, Prepared]:
    """Write `<split>.beton` and its sidecar for each split into `dst`: all of them, or nothing.

    Args:
        images: The splits.
        dst: Folder, whose lock the caller holds.
        storage: How images are stored.
        source: Name of the set, for the sidecar.
        skip_bad: Leave unreadable images out instead of stopping.
        workers: Threads; 0 takes all cores.
        overwrite: Replace existing files that differ.
    """
    if not overwrite and (reused := _reusable(images, dst, storage)):
        say(f"{dst} holds these images already; nothing to do (--overwrite writes them again)")
        return reused
    threads = workers or cores()
    for split in images:  # before the space is measured, which they take
        atomic.sweep_beside(dst / f"{split}.beton")
    with _space_errors(dst), ExitStack() as outputs:
        _check_space(images, dst, storage)
        # Contexts exit in reverse order, so the sidecars are renamed last; a .beton is not used without one.
        sidecars = {split: outputs.enter_context(atomic.path(dst / f"{split}.beton.json")) for split in images}
        betons = {split: outputs.enter_context(atomic.path(dst / f"{split}.beton")) for split in images}
        written = {}
        for split, part in images.items():
            skipped: list[tuple[int, str]] = []
            _write(betons[split], split, part, storage, threads, skipped if skip_bad else None)
            described = _describe(betons[split], part.listing, skipped, storage, source)
            sidecar.save(sidecars[split], described)
            written[split] = described
    done = {split: _report(dst / f"{split}.beton", described) for split, described in written.items()}
    for split, described in written.items():
        sidecar.remember(dst / f"{split}.beton", described.beton_sha256)
        say(f"{done[split].path}: {described.samples:,} images, {described.beton_bytes / 1e6:,.1f} MB")
        for each in described.skipped:
            say(f"  skipped {each['name']}: {each['reason']}")
        if described.skipped:
            say(f"  {len(described.skipped)} unreadable files were skipped; the sidecar lists them")
    return done


def _write(
    path: Path, split: str, images: Images, storage: Storage, threads: int, skipped: list[tuple[int, str]] | None
) -> None:
    listing = images.listing

    def encode(index: int) -> Encoded | UnreadableImageError:
        try:
            encoded = storage.encode(images.open(index), index)
        except UnreadableImageError as error:
            if skipped is None:
                raise
            return error
        return Encoded(listing.names[index], *encoded, int(listing.labels[index]))

    def kept() -> Generator[Encoded, None, None]:
        results = progress(in_order(encode, len(listing), threads), len(listing), f"preparing {split}")
        for index, result in enumerate(results):
            if isinstance(result, Encoded):
                yield result
            elif skipped is not None:
                skipped.append((index, str(result.__cause__) or result.reason))

    with closing(kept()) as encoded:  # stops the threads at once if writing fails
        beton_writer.write(path, encoded, len(listing))


def in_order(function: Callable, count: int, threads: int) -> Iterator:
    """function(0), function(1), ... computed ahead by threads; leaving early cancels the rest.

    Args:
        function: Function of a position.
        count: Number of positions.
        threads: Number of threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    waiting: deque[Future] = deque()
    try:
        for index in range(count):
            waiting.append(pool.submit(function, index))
            if len(waiting) >= 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _describe(path: Path, listing: Listing, skipped: list[tuple[int, str]], storage: Storage, source: str) -> Sidecar:
    kept = listing
    if skipped:
        members = np.setdiff1d(np.arange(len(listing)), [index for index, _ in skipped])
        kept = Listing(listing.classes, [listing.names[member] for member in members.tolist()], listing.labels[members])
    empty = [name for name, count in kept.counts().items() if not count]
    if empty:
        raise UserError(f"every image of class {empty[0]} is unreadable. Expected at least one; repair the files.")
    return Sidecar(
        classes=list(listing.classes),
        counts=kept.counts(),
        samples=len(kept),
        listing_sha256=kept.sha256,
        source_listing_sha256=listing.sha256,
        beton_sha256=sidecar.file_sha256(path),
        beton_bytes=path.stat().st_size,
        options=asdict(storage),
        source=source,
        skipped=[{"name": printable(listing.names[index]), "reason": printable(why)} for index, why in skipped],
    )


def _reusable(images: dict[str, Images], dst: Path, storage: Storage) -> dict[str, Prepared] | None:
    present = [split for split in images if (dst / f"{split}.beton").exists()]
    if not present:
        return None
    reused = {}
    for split, part in images.items():
        path = dst / f"{split}.beton"
        try:
            described = sidecar.verify(path)[1]
        except UserError as error:
            raise UserError(f"{error} Or choose another DST, or pass --overwrite to replace it.") from error
        if (described.source_listing_sha256, described.options) != (part.listing.sha256, asdict(storage)):
            raise UserError(
                f"{path} exists but was written from other images or options. Choose another DST, or pass "
                "--overwrite to replace it."
            )
        reused[split] = _report(path, described)
    return reused


def _report(path: Path, described: Sidecar) -> Prepared:
    return Prepared(path, described.samples, described.beton_bytes, described.skipped)


def _check_space(images: dict[str, Images], dst: Path, storage: Storage) -> None:
    needed = 0
    for part in images.values():
        count = len(part.listing)
        sampled = np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int)
        sizes = []
        for index in sampled:
            try:
                sizes.append(len(storage.encode(part.open(index), int(index))[3]))
            except UnreadableImageError:
                continue  # handled later, when its turn comes
        needed += round(count * float(np.mean(sizes or [0]))) + count * 48 + beton.PAGE_BYTES
    free = beton.free_bytes(dst)
    if needed > free:
        raise UserError(
            f"not enough space in {dst}: about {needed / 1e9:,.2f} GB are needed, {free / 1e9:,.2f} GB are free. "
            "Choose another DST, or store smaller images (--shorter-side, --quality, --jpeg 1)."
        )


@contextmanager
def _space_errors(dst: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise UserError(
            f"no space left in {dst}; partial output was removed. Free some space or choose another DST."
        ) from error
