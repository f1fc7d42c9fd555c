"""The command `xnorlit web`: a packed network as one HTML file that runs it in any browser."""

from pathlib import Path

import xnorlit as xl
from xnorlit.edge.console import say
from xnorlit.packed.trained import located
from xnorlit.report.html.live import write_live


def web(file: Path, *, out: Path | None = None) -> Path:
    """Writes a packed network as one HTML file: drop a photo on it, or use the camera, and it says what they show.

    The file holds the engine, in WebAssembly, and the network. It needs neither a server nor a network connection.

    Args:
        file: What xnorlit pack wrote, or the name of a network that comes with xnorlit (xnorlit zoo lists them).
        out: The page (default: NAME.html here).

    Returns:
        The page's file.

    Raises:
        UserError: The file is no packed network, or the engine has not been built for browsers (make web does).
    """
    found = located(file)
    xl.load(found)
    page = write_live(found.read_bytes(), out or Path(f"{found.stem}.html"), found.stem)
    say("web", f"{page} ({page.stat().st_size / 2**20:.2g} MiB; opens in any browser)")
    return page
