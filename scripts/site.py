"""Hooks of mkdocs that add pages from outside docs/ to the site. See `make docs`.

- README.md is the first page. CONTRIBUTING.md, CHANGELOG.md and every file of the repository that a page links to
  become pages too, so that links work both in the repository and on the site.
- `{{ commands }}` in a page becomes the `--help` of each command, `{{ binarizers }}` the reference of each binarizer.
"""

import contextlib
import io
import os
import posixpath
import re
from pathlib import Path
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from xnorlit.binarize import binarizers
from xnorlit.commands import main as cli

ROOT = Path(__file__).resolve().parents[1]
FOLDED = {"fit", "validate", "test", "predict"}  # hundreds of lines each
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2\s*$", re.DOTALL | re.MULTILINE)


def place_of(path: str) -> str:
    """The path of a repository file on the site.

    Args:
        path: Path relative to the repository's root.
    """
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.endswith(".md") else f"{path}.md"


def targets(path: str, text: str) -> set[str]:
    """The files of the repository that a page links to, relative to the repository's root."""
    found = {
        posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link, _ in LINK.findall(_prose(text))
    }
    return {link for link in found if (ROOT / link).is_file()}


def _prose(text: str) -> str:
    return FENCE.sub("", text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository files to which the pages link."""
    open_ = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    open_ += [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    known = set(open_)
    while open_:
        path = open_.pop()
        text = (ROOT / path).read_text()
        if not path.startswith("docs/"):
            if not path.endswith(".md"):
                text = f"# {path}\n\n```{Path(path).suffix[1:]}\n{text.rstrip()}\n```\n"
            files.append(File.generated(config, place_of(path), content=text))
        if path.endswith(".md"):
            fresh = {link for link in targets(path, text) if not link.endswith((".png", ".svg"))} - known
            known |= fresh
            open_ += sorted(fresh)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the generated parts, and redirect links to the files' paths on the site."""
    place = page.file.src_uri
    origins = {place_of(path): path for path in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")}
    origin = origins.get(place, place if page.file.generated_by else f"docs/{place}")

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[1]))
        return posixpath.relpath(
            place_of(target) if _is_page(target) else target.removeprefix("docs/"), posixpath.dirname(place) or "."
        ) + (match[2] or "")

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(led, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    text = "".join([*parts, LINK.sub(led, markdown[end:])])
    for token, fill in {"{{ commands }}": _commands, "{{ binarizers }}": _binarizers}.items():
        if token in text:
            text = text.replace(token, fill())
    return text


def _is_page(path: str) -> bool:
    return (ROOT / path).is_file() and not path.endswith((".png", ".svg"))


def help_of(command: str) -> str:
    """The output of `xnorlit COMMAND --help` on a terminal of 84 columns."""
    said = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="84"), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    return said.getvalue().rstrip()


def _commands() -> str:
    parts = []
    for name, command in cli.COMMANDS.items():
        fence = f"```text\n{help_of(name)}\n```"
        if name in FOLDED:
            indented = fence.replace("\n", "\n    ")
            fence = f'??? note "xnorlit {name} --help"\n\n    {indented}'
        parts.append(f"## xnorlit {name}\n\n{command.about[0].upper()}{command.about[1:]}.\n\n{fence}\n")
    return "\n".join(parts)


def _binarizers() -> str:
    return "\n\n".join(f"::: {found.__module__}.{name}" for name, found in sorted(binarizers().items()))
