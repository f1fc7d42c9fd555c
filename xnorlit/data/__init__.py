"""Image sets as batches: named sets, folder trees and .beton files behind one LightningDataModule.

`xnorlit.data.prepare.prepare` writes .beton files.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xnorlit.data.augment import CentreCrop, Crop, PadCrop, RandomCrop, ResizedCrop
    from xnorlit.data.loader import Batch, BatchLoader
    from xnorlit.data.module import ImageData
    from xnorlit.data.survey import Probe, probe

__all__ = [
    "Batch",
    "BatchLoader",
    "CentreCrop",
    "Crop",
    "ImageData",
    "PadCrop",
    "Probe",
    "RandomCrop",
    "ResizedCrop",
    "probe",
]

_HOMES = {
    "augment": ("CentreCrop", "Crop", "PadCrop", "RandomCrop", "ResizedCrop"),
    "loader": ("Batch", "BatchLoader"),
    "module": ("ImageData",),
    "survey": ("Probe", "probe"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Importing on first use: preparing or probing a data set need not wait for Lightning.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
