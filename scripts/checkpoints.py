"""The cost of checkpoints: the CPU time that a training spends on saving them, and its total CPU time.

    python scripts/checkpoints.py fit -c experiments/synthetic/base.yaml -c experiments/synthetic/xnor.yaml

CPU time hardly depends on other programs on the machine. It does not include waiting for the disk.
"""

import sys
import time
from pathlib import Path

from xnorlit.commands.main import main
from xnorlit.training.saving import Saving


def measured(words: list[str]) -> int:
    """Train, and print the number of saved checkpoints, their size, and their share of the CPU time.

    Args:
        words: The arguments of a training command.
    """
    save, seconds, sizes = Saving._save, [], []

    def timed(self, trainer, module, name, *rest, **options):
        began = time.process_time()
        before = self._saved, name
        save(self, trainer, module, name, *rest, **options)
        if name == "best" or before != (self._saved, name):
            seconds.append(time.process_time() - began)
            sizes.append((self.folder / f"{name}.ckpt").stat().st_size)

    Saving._save = timed
    began = time.process_time()
    status = main(words)
    total = time.process_time() - began
    if seconds:
        print(
            f"{len(seconds)} checkpoints of up to {max(sizes) / 2**20:.1f} MiB: {sum(seconds):.2f} of {total:.1f} s of "
            f"the processor, {sum(seconds) / total:.2%}; one takes up to {max(seconds):.2f} s"
        )
    return status


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(measured(sys.argv[1:]))
