"""Execute the notebooks and write them as HTML pages into notebooks/results/. The stored ones stay without output.

Usage: python scripts/notebooks.py [NAME ...], where NAME is the beginning of a name, such as 04. See `make notebooks`.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from typing_extensions import override

from xnorlit.edge import atomic
from xnorlit.edge.console import say

# nbconvert's own style would break printed lines within words.
_STYLE = "<style>.jp-OutputArea-output pre { word-break: normal !important; overflow-wrap: anywhere; }</style>"
_ELSEWHERE = ("require_js_url", "jquery_url", "mathjax_url", "mermaid_js_url", "mermaid_layout_elk_js_url")
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


class OwnKernel(KernelSpecManager):
    """A kernel manager with a single kernel: this Python, whatever kernels the user has installed."""

    @override
    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


class Client(NotebookClient):
    """A client that repeats training lines on the terminal while a notebook runs, and records how its kernel ended."""

    _process: Any = None

    @override
    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        await super().async_start_new_kernel(**kwargs)
        self._process = getattr(self.km.provisioner, "process", None)  # the provisioner forgets a process that ended

    def ending(self) -> str:
        """How the kernel's process ended."""
        status = self._process.wait() if self._process else None
        if status is None or status >= 0:
            return f"exit status {status}"
        return f"signal {-status}, {signal.strsignal(-status)}"

    @override
    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        if msg["msg_type"] == "stream":
            for line in msg["content"]["text"].splitlines():
                if line.startswith("["):
                    say("", line)
        return super().output(outs, msg, display_id, cell_index)


def run(notebook: Path) -> tuple[nbformat.NotebookNode, str]:
    """A notebook with its outputs, and an error message, which is empty if all cells ran.

    Args:
        notebook: The notebook's file, which is not changed.
    """
    content = nbformat.read(notebook, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=OwnKernel())
    where = {"metadata": {"path": notebook.parent}}
    client = Client(content, km=manager, timeout=None, coalesce_streams=True, startup_timeout=300, resources=where)
    try:
        client.execute()
    except CellExecutionError as error:
        code = [cell for cell in content.cells if cell.cell_type == "code"]
        number = next(i for i, cell in enumerate(code, start=1) if any(o.output_type == "error" for o in cell.outputs))
        return content, f"code cell {number} of {len(code)}: {error.ename}: {error.evalue}"
    except DeadKernelError:
        return content, f"the kernel died: {client.ending()}"
    return content, ""


def execute(notebook: Path, results: Path) -> str:
    """Execute one notebook, write its page, and return an error message, which is empty if all cells ran.

    Args:
        notebook: The notebook's file.
        results: Folder of the page: NAME.html, or NAME.failed.html if a cell failed.
    """
    content, problem = run(notebook)
    done, failed = (results / f"{notebook.stem}{suffix}.html" for suffix in ("", ".failed"))
    with atomic.path(failed if problem else done) as scratch:
        scratch.write_text(page(content, notebook.stem), encoding="utf-8")
    if not problem:
        failed.unlink(missing_ok=True)
    return problem


def page(content: nbformat.NotebookNode, title: str) -> str:
    """An executed notebook as HTML that needs no network.

    Args:
        content: The notebook with its outputs.
        title: Title of the page.
    """
    exporter = HTMLExporter(**dict.fromkeys(_ELSEWHERE, ""))
    html = exporter.from_notebook_node(content, {"metadata": {"name": title}})[0]
    return html.replace("</head>", f"{_STYLE}</head>", 1)


def main(names: Sequence[str], folder: Path = FOLDER) -> int:
    """Execute the notebooks whose names begin with one of `names`, or all.

    Args:
        names: Beginnings of file names.
        folder: Folder of the notebooks.

    Returns:
        Exit status: 0 if all cells of all notebooks ran, 1 if one failed, 2 for a name that matches no notebook.
    """
    found = sorted(folder.glob("*.ipynb"))
    chosen = [each for each in found if not names or any(each.stem.startswith(name) for name in names)]
    for name in names:
        if not any(each.stem.startswith(name) for each in found):
            sys.stderr.write(f"error: no notebook begins with {name}. Known: {', '.join(e.stem for e in found)}.\n")
            return 2
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # The user's own may draw elsewhere.
    failed = []
    for number, notebook in enumerate(chosen, start=1):
        say("draw", f"{number}/{len(chosen)}  {notebook.stem} ...")
        started = time.perf_counter()
        problem = execute(notebook, folder / "results")
        took = f"{time.perf_counter() - started:.0f} s"
        if problem:
            failed.append(notebook.stem)
            sys.stderr.write(
                f"error: {notebook.name}, {problem} (after {took}; the whole page: notebooks/results/"
                f"{notebook.stem}.failed.html)\n"
            )
        else:
            say("", f"{took}: notebooks/results/{notebook.stem}.html")
    if failed:
        sys.stderr.write(f"error: {len(failed)} of {len(chosen)} notebooks failed: {', '.join(failed)}.\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
