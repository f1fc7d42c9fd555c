"""The command `xnorlit web`: a packed network as one HTML file that runs it in any browser."""

from pathlib import Path

import xnorlit as xl
from xnorlit.edge.console import say
from xnorlit.packed.trained import located
from xnorlit.report.html.live import write_live


def web(file: Path, *, out: Path | None = None) -> Path:
    """Write a packed network as one HTML file that classifies photos and camera pictures in a browser.

    The file contains the engine, in WebAssembly, and the network. It needs neither a server nor a network connection.

    Args:
        file: A packed file (xnorlit pack writes it), or the name of a trained network (xnorlit zoo lists them).
        out: Output file (default: NAME.html in the current folder).

    Returns:
        The page's file.

    Raises:
        UserError: The file is not a packed network, or the engine was not built for browsers (in a checkout, make web
            builds it).
    """
    found = located(file)
    xl.load(found)
    page = write_live(found.read_bytes(), out or Path(f"{found.stem}.html"), found.stem)
    say("web", f"{page} ({page.stat().st_size / 2**20:.2g} MiB; opens in any browser)")
    return page
