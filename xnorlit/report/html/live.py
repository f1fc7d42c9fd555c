"""A packed network that runs in the page itself: the engine in WebAssembly, the network's file, and a script."""

import base64
import importlib.metadata
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from xnorlit.edge import atomic
from xnorlit.errors import UserError
from xnorlit.report import palette
from xnorlit.report.html.render import environment, file

ENGINE = "xnorlit.wasm"
_MARK = '<meta name="generator" content="xnorlit web">'


@dataclass(frozen=True)
class Live:
    """What the section needs.

    Attributes:
        engine: The engine in WebAssembly, base64.
        network: A packed file, base64.
        script: The script of the section.
    """

    engine: str
    network: str
    script: Markup


def live(content: bytes) -> Live:
    """The parts of a section that runs a packed network.

    Args:
        content: The bytes of a packed file that loads.

    Raises:
        UserError: The engine has not been built for browsers.
    """
    engine = resources.files("xnorlit.report.html").joinpath(ENGINE)
    if not engine.is_file():
        raise UserError(
            "the engine is not built for browsers. Install emscripten (apt-get install emscripten), then run make web "
            "in a checkout of xnorlit."
        )
    return Live(_text(engine.read_bytes()), _text(content), Markup(file("live.js")))


def write_live(content: bytes, out: Path, title: str) -> Path:
    """Write a page with a packed network: one file, which needs nothing else.

    Args:
        content: The bytes of a packed file that loads.
        out: The page.
        title: Its title.

    Raises:
        UserError: The engine has not been built for browsers, or `out` is another kind of file.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; a file is expected. Give {out / 'live.html'}.")
    if out.exists() and _MARK not in out.read_bytes()[:4096].decode("utf-8", "replace"):
        raise UserError(f"{out} exists and is not a page of xnorlit web, so it is not overwritten. Give another --out.")
    if not out.parent.is_dir():
        raise UserError(
            f"{out.parent} is not a folder. Create it (mkdir -p {shlex.quote(str(out.parent))}), or give another --out."
        )
    page = environment().get_template("live.html.jinja")
    text = page.render(
        title=title,
        live=live(content),
        style=Markup(palette.style_sheet() + file("style.css")),
        version=importlib.metadata.version("xnorlit"),
    )
    with atomic.path(out) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return out


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
