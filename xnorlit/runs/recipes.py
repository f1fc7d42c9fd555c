"""Find recipes: first in the user's own `experiments/` folder, then among the packaged ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xnorlit.errors import UserError, did_you_mean

FOLDER = "experiments"
TWIN = "float"
"""The reference arm of every gap. Other arms may use it as a teacher."""


def packaged() -> Path:
    """The recipes that ship with xnorlit: in the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / FOLDER
    return installed if installed.is_dir() else package.with_name(FOLDER)


def folders() -> list[Path]:
    """Folders of recipes, in search order: `experiments/` here, in each folder above, then the packaged one."""
    found = {}
    for folder in (Path(FOLDER), *(above / FOLDER for above in Path.cwd().parents), packaged()):
        if folder.is_dir():
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def located(file: Path) -> Path:
    """The file. If it is missing and named `experiments/...`, the first recipe file with that name.

    This lets `xnorlit fit -c experiments/cifar10/base.yaml` run outside a checkout.

    Args:
        file: A path from a command line or a sweep file.
    """
    if file.exists() or file.parts[:1] != (FOLDER,):
        return file
    found = (folder.joinpath(*file.parts[1:]) for folder in folders())
    return next((path for path in found if path.exists()), file)


@dataclass(frozen=True)
class Recipe:
    """An experiment's files: `base`, and an overlay for each arm by name, the float twin first.

    A folder with a `base.yaml` is complete. A `base-*.yaml` beside it is not an arm but a variant for `-c`, such as
    another image size. A folder without `base.yaml` adds overlays to another recipe, and shares its base and its float
    twin: `cifar10/search` adds to `cifar10`, and a user's own `experiments/cifar10` adds to the packaged recipe of that
    name.

    Attributes:
        name: Path of the folder below `experiments/`, such as `cifar10`.
        folder: The folder of the overlays.
        base: The file of settings that all arms share.
        overlays: The file of each arm.
    """

    name: str
    folder: Path
    base: Path
    overlays: dict[str, Path]

    @staticmethod
    def find(name: str, experiments: Path | None = None) -> "Recipe":
        """The recipe of a name.

        Args:
            name: A folder of recipes, such as `cifar10` or `cifar10/search`.
            experiments: Folder to search (default: the user's own folder, then the packaged one).

        Raises:
            UserError: There is no such recipe.
        """
        roots = [experiments] if experiments else folders()
        found: list[Path] = []
        for folder in (root / name for root in roots if (root / name).is_dir()):
            found.append(folder)
            for home in (folder, folder.parent):
                if (home / "base.yaml").is_file():
                    return Recipe(name, found[0], home / "base.yaml", _overlays(found, home / f"{TWIN}.yaml"))
        known = names(experiments)
        raise UserError(
            f"no recipe named {name}.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}. A recipe is a "
            f"folder with a base.yaml in {_listed(roots)}."
        )

    def chosen(self, arms: str | None) -> list[str]:
        """The arms in a comma-separated list, in the order of the recipe; None means all.

        Raises:
            UserError: The recipe has no such arm.
        """
        if arms is None:
            return list(self.overlays)
        wanted = [word for word in arms.replace(" ", "").split(",") if word]
        for word in wanted:
            self.overlay(word)
        return [arm for arm in self.overlays if arm in wanted]

    def overlay(self, arm: str) -> Path:
        """The file of an arm.

        Raises:
            UserError: The recipe has no such arm.
        """
        if arm not in self.overlays:
            near = did_you_mean(arm, self.overlays)
            raise UserError(f"recipe {self.name} has no arm {arm}.{near} Known: {', '.join(sorted(self.overlays))}.")
        return self.overlays[arm]

    def remark(self, arm: str) -> str:
        """The text of the line `# Remark: ...` in an arm's overlay; empty without such a line."""
        lines = self.overlays[arm].read_text(encoding="utf-8").splitlines()
        return " ".join(line.removeprefix("# Remark:").strip() for line in lines if line.startswith("# Remark:"))

    @property
    def own(self) -> bool:
        """Whether the folder is the user's own, not the one in the installed package."""
        return not self.folder.resolve().is_relative_to(Path(__file__).resolve().parents[1])


def names(experiments: Path | None = None) -> list[str]:
    """The recipes that have a base, by name.

    Args:
        experiments: Folder to search (default: the user's own folder, then the packaged one).
    """
    roots = [experiments] if experiments else folders()
    return sorted({base.parent.name for root in roots for base in root.glob("*/base.yaml")})


def is_base(file: Path) -> bool:
    """Whether all arms share a file of a recipe: `base.yaml`, or a variant such as `base-224.yaml`.

    Args:
        file: A file in the recipe's folder.
    """
    return file.stem.partition("-")[0] == "base"


def _overlays(homes: Sequence[Path], twin: Path) -> dict[str, Path]:
    """The overlays in some folders by arm, the twin first. If an arm has two files, the earlier folder's counts."""
    files = [file for home in homes for file in home.glob("*.yaml") if not is_base(file)]
    files += [twin] if twin.is_file() else []
    arms = {file.stem: file for file in reversed(files)}
    return {arm: arms[arm] for arm in sorted(arms, key=lambda arm: (arm != TWIN, arm))}


def _listed(roots: Sequence[Path]) -> str:
    return ", then ".join(str(root) for root in roots) or f"a folder {FOLDER}"
