"""How an image is stored in a .beton: its size, and JPEG or raw pixels."""

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from xnorlit.data import beton, counter
from xnorlit.errors import UserError


@dataclass(frozen=True)
class Storage:
    """How images are stored.

    Args:
        shorter_side: Resize larger images so that their shorter side has this many pixels.
        longest_side: Resize larger images so that their longer side has this many pixels.
        jpeg: Share of the images stored as JPEG; the rest as raw pixels: no decoding, ten times the space.
        quality: JPEG quality, 1 to 100.
    """

    shorter_side: int | None = None
    longest_side: int | None = None
    jpeg: float = 1.0
    quality: int = 90

    def __post_init__(self) -> None:
        if self.shorter_side and self.longest_side:
            raise UserError("both --shorter-side and --longest-side are given. Expected at most one.")
        for option in ("shorter_side", "longest_side"):
            side = getattr(self, option)
            if side is not None and side < 1:
                raise UserError(f"--{option.replace('_', '-')} is {side}. Expected a number of pixels, 1 or more.")
        if not 0 <= self.jpeg <= 1:
            raise UserError(f"--jpeg is {self.jpeg}. Expected a share from 0 (all raw) to 1 (all JPEG).")
        if not 1 <= self.quality <= 100:
            raise UserError(f"--quality is {self.quality}. Expected a JPEG quality from 1 to 100.")

    def resized(self, image: Image.Image) -> Image.Image:
        """The image at its stored size, never enlarged."""
        width, height = image.size
        side, limit = (
            (max(width, height), self.longest_side) if self.longest_side else (min(width, height), self.shorter_side)
        )
        if limit is None or side <= limit:
            return image
        size = (max(1, round(width * limit / side)), max(1, round(height * limit / side)))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

    def encode(self, image: Image.Image, index: int) -> tuple[int, int, int, bytes]:
        """Mode, height, width and bytes as stored; which images become JPEG is a hash of the index."""
        image = self.resized(image)
        if counter.uniform(counter.key(4), index)[0] >= self.jpeg:
            return beton.RAW, image.height, image.width, image.tobytes()
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=self.quality)
        return beton.JPEG, image.height, image.width, buffer.getvalue()
