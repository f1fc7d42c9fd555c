"""The settings of jobs, as the parser of `xnorlit fit` resolves their command lines."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from xnorlit.errors import UserError
from xnorlit.runs.config import flatten
from xnorlit.sweep.job import Job


def settings(jobs: Sequence[Job]) -> list[dict[str, Any] | str]:
    """The configuration that each run would record, under dotted keys; a text says why a command line is refused.

    One process of the parser answers for all jobs, in the working directory of the first, because it takes seconds to
    start.

    Args:
        jobs: The runs.

    Raises:
        UserError: The parser's process fails.
    """
    if not jobs:
        return []
    done = subprocess.run(
        [sys.executable, "-m", "xnorlit.commands.resolve"],
        input=json.dumps([job.argv for job in jobs]),
        cwd=jobs[0].folder,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"xnorlit fit refuses the runs: {said[-1]}")
    answers = json.loads(done.stdout.splitlines()[-1])
    return [answer["error"] if "error" in answer else flatten(answer["config"]) for answer in answers]
