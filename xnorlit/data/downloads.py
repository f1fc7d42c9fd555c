"""Downloads named sets with torchvision's progress bars and checksums."""

import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorlit.data.say import say
from xnorlit.edge import atomic
from xnorlit.edge.lock import held
from xnorlit.errors import UserError


def cifar10(root: Path, *, train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """CIFAR-10 (Krizhevsky, 2009; 163 MB): images uint8 [N, 32, 32, 3], labels int64 [N], class names.

    Args:
        root: Folder of the set; it is downloaded there if it is missing.
        train: Whether to return the 50,000 training images or the 10,000 test images.
    """
    from torchvision.datasets import CIFAR10

    with safely("cifar10", root):
        try:
            found = CIFAR10(str(root), train=train, download=False)
        except RuntimeError:  # It is missing, incomplete or damaged, or another process is unpacking it.
            with _alone(root):
                if not (root / CIFAR10.base_folder).is_dir():
                    say(f"downloading CIFAR-10 (163 MB) into {root}")
                found = CIFAR10(str(root), train=train, download=True)
    return np.asarray(found.data), np.array(found.targets, np.int64), tuple(found.classes)


def imagenette(root: Path) -> Path:
    """Imagenette (Howard, 2019): the folder of its 320-pixel version, 13,394 photographs in 10 classes, 326 MB."""
    from torchvision.datasets import Imagenette

    folder = root / "imagenette2-320"
    with safely("imagenette", root):
        if not folder.is_dir():
            with _alone(root):
                if not folder.is_dir():
                    say(f"downloading Imagenette (326 MB) into {root}")
                    # It gets its name when it is whole, because torchvision takes any folder of that name for the set.
                    with atomic.path(folder) as made:
                        Imagenette(str(made.parent), split="train", size="320px", download=True)
    return folder


def _alone(root: Path) -> AbstractContextManager[None]:
    return held(root, lambda: say(f"waiting for another process that is downloading into {root}"))


@contextmanager
def safely(name: str, root: Path) -> Iterator[None]:
    """Guards a download: an archive may not write outside its folder.

    Args:
        name: Name of the set, for messages.
        root: Target folder.

    Raises:
        UserError: The set could not be downloaded, or its archive would write outside its folder.
    """
    before = getattr(tarfile.TarFile, "extraction_filter", None)
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    # URLErrors and timeouts are OSErrors; torchvision raises a RuntimeError for a wrong checksum.
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise UserError(
            f"cannot download {name} into {root}: {error}. Check the network and the free space and try again, "
            "put the set there yourself, or use DATA=synthetic, which needs no download."
        ) from error
    finally:
        tarfile.TarFile.extraction_filter = before
