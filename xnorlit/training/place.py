"""The folder of a run, and the checks that keep two runs from writing into one folder."""

import itertools
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from xnorlit.edge import atomic
from xnorlit.edge.names import at_home
from xnorlit.errors import UserError
from xnorlit.runs.config import differing
from xnorlit.runs.lock import state_of, take
from xnorlit.runs.place import Place, aside


@dataclass
class RunPlace:
    """`<root>/<experiment>/<pair>/<arm>/seed-<n>`, and what to do if that folder exists.

    Args:
        experiment: Name of the experiment: the first folder under root.
        arm: Name of this arm in its pair, such as xnor or float. An option in braces is replaced by its value on the
            same command line: {model.binarizer}-{model.binarizer.gradient}.
        pair: Name of the pair. Runs of one pair are compared seed by seed.
        root: Folder of all runs.
        pair_differs: Further keys in which the arms of this pair differ on purpose, such as model.optimizer.
        resume: Resume the unfinished run with the next sample in order. auto also starts a run that has saved nothing,
            and does nothing if the run has finished, so that one command fits every state.
        fresh: Move the existing run aside (to seed-<n>.until-<time>) and start again.
        checkpoint_minutes: Also save within an epoch when the last checkpoint is older than this.
        wandb: Log to W&B: auto (online with a login, else offline), online, offline or off.
    """

    experiment: str = "unnamed"
    arm: str = "unnamed"
    pair: str = "pair-0"
    root: Path = Path("runs")
    pair_differs: list[str] = field(default_factory=list)
    resume: bool | Literal["auto"] = False
    fresh: bool = False
    checkpoint_minutes: float = 15.0
    wandb: Literal["auto", "online", "offline", "off"] = "auto"

    def __post_init__(self) -> None:
        self.root = at_home(self.root)  # Lightning expands `~` too.

    def at(self, seed: int) -> Path:
        """The run's folder.

        Args:
            seed: The run's seed.

        Raises:
            UserError: A name would leave the root.
        """
        for key in ("experiment", "arm", "pair"):
            name = getattr(self, key)
            if not name or name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
                raise UserError(f"run.{key} is {name!r}. Expected a single folder name, such as 'pair-0'.")
        return Place(self.root, self.experiment, self.pair, self.arm, seed).path


def claim(folder: Path, *, resume: bool, fresh: bool, again: bool = False) -> IO[str]:
    """Claim a run's folder for this process.

    Args:
        folder: The run's folder.
        resume: Expect an unfinished run there.
        fresh: Move an existing run aside first.
        again: Restart a run that has saved nothing.

    Returns:
        The open lock, held until it is closed or the process ends.

    Raises:
        UserError: The folder holds a finished, unfinished or running run, or there is nothing to resume.
    """
    if resume and fresh:
        raise UserError("run.resume and run.fresh were both given. Expected one of them.")
    if resume and state_of(folder) != "unfinished":
        raise UserError(
            f"there is nothing to resume: {folder / 'checkpoints' / 'last.ckpt'} does not exist. A run saves its first "
            "checkpoint after one epoch, after run.checkpoint_minutes, or on a signal. Start afresh with "
            "--run.fresh true, or give --run.resume auto, which resumes if it can and starts otherwise."
        )
    lock = _lock(folder)
    atomic.sweep(folder)
    state = state_of(folder)
    if resume or state == "missing":
        return lock
    if fresh:
        # The lock moves with the folder; take a new one at the old place.
        folder.rename(_free(aside(folder, time.strftime("%Y%m%d-%H%M%S"))))
        lock.close()
        return _lock(folder)
    if state == "begun" and again:
        return lock
    lock.close()
    if state == "finished":
        held, remedy = f"a finished run ({top1(folder)})", ""
    else:
        held = "an unfinished run"
        remedy = "resume it: --run.resume auto; " if state == "unfinished" else ""
    raise UserError(
        f"{folder} already holds {held}, which is not overwritten. You can "
        f"{remedy}move it aside and start afresh: --run.fresh true; or train another one: another seed "
        "(--seed N; of xnorlit fit, --seed_everything N) or another pair (--run.pair NAME)."
    )


def top1(folder: Path) -> str:
    """`top-1 43.11 %` of a finished run.

    Args:
        folder: The run's folder.
    """
    return f"top-1 {100 * json.loads((folder / 'summary.json').read_text())['top1']:.2f} %"


def checkpoint_of(named: str, run: Path, *, role: str) -> Path:
    """The checkpoint that a recipe names: the path of a file, or an arm of the same pair.

    An arm's name means that arm's last checkpoint with the run's seed. The best one would not be fair: it was selected
    by its accuracy on the images that also measure this run.

    Args:
        named: Name of an arm, such as float; or a path, which has a folder or a suffix.
        run: Folder of the run that uses it, `.../PAIR/ARM/seed-N`.
        role: Role of the checkpoint, for the message: "the teacher".

    Raises:
        UserError: The arm's run has not finished.
    """
    if "/" in named or Path(named).suffix:
        return at_home(named)
    folder = run.parent.parent / named / run.name
    if not (folder / "summary.json").is_file():
        state = "is not finished" if (folder / "config.yaml").is_file() else "does not exist"
        raise UserError(
            f"{role} is the arm {named} of the same pair and seed, but its run {folder} {state}. Train it first "
            f"(xnorlit train {named}, with the same recipe, images and seed), or give a checkpoint instead."
        )
    return folder / "checkpoints" / "last.ckpt"


def refuse_vanished(folder: Path) -> None:
    """End a run whose folder has vanished. Writing on would create a folder with only part of a run.

    Args:
        folder: The run's folder; its configuration has been written.

    Raises:
        UserError: The folder was moved or removed.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"{folder} was moved or removed while its run was training, so nothing more is written there. Put it back "
            "and run the same command with --run.resume auto to continue from its last checkpoint. Without the folder, "
            "the same command starts again."
        )


def discard_if_empty(folder: Path) -> None:
    """Remove the folder of a run that failed before it started, and parent folders that become empty.

    Args:
        folder: The run's folder, claimed by this process. A run that has started has its config.yaml there.
    """
    if (folder / "config.yaml").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    for above in list(folder.parents)[:4]:
        try:
            above.rmdir()
        except OSError:  # The parent contains other runs.
            return


def _free(path: Path) -> Path:
    """The path, or the first free `PATH-N`: the time in a name may occur twice."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _lock(folder: Path) -> IO[str]:
    try:
        return take(folder)
    except BlockingIOError as owner:
        raise UserError(
            f"another run is writing to {folder} ({owner}). Wait for it, or train another seed "
            "(--seed N; of xnorlit fit, --seed_everything N) or pair (--run.pair NAME)."
        ) from None


def refuse_other_config(ours: dict[str, Any], theirs: dict[str, Any], folder: Path) -> None:
    """Refuse to resume a run with a different configuration.

    Args:
        ours: The configuration of this command, flattened to dotted keys.
        theirs: The configuration of the unfinished run, also flattened.
        folder: The run's folder, for the message.

    Raises:
        UserError: The configurations differ; the message names the keys.
    """
    if differ := differing(ours, theirs):
        lines = "\n".join(f"  {line}" for line in differ[:8])
        raise UserError(
            f"{folder} was started with another configuration ({len(differ)} keys differ):\n{lines}\n"
            f"Resume with its own (-c {folder / 'config.yaml'} --run.resume auto), or start afresh (--run.fresh true)."
        )
