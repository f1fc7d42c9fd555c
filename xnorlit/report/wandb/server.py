"""The W&B server of the login: its entity, how long to wait for it, and its errors in plain words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xnorlit.errors import UserError
from xnorlit.runs.login import logged_in, reason, wandb_mode

LOG_IN = "log in once (wandb login, or wandb login --host ADDRESS for your own server)"

# W&B retries for minutes, and for days in an upload. Here a person waits, and can run the same command later.
_PATIENCE = {
    "X_GRAPHQL_RETRY_MAX": "1",
    "X_GRAPHQL_RETRY_WAIT_MIN_SECONDS": "0.5",
    "X_GRAPHQL_RETRY_WAIT_MAX_SECONDS": "2",
    "X_GRAPHQL_TIMEOUT_SECONDS": "10",
    "X_FILE_STREAM_RETRY_MAX": "2",
    "X_FILE_STREAM_RETRY_WAIT_MIN_SECONDS": "0.5",
    "X_FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "3",
    "X_FILE_STREAM_TIMEOUT_SECONDS": "30",
    "X_FILE_TRANSFER_RETRY_MAX": "2",
    "X_FILE_TRANSFER_RETRY_WAIT_MIN_SECONDS": "0.5",
    "X_FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "3",
    "X_FILE_TRANSFER_TIMEOUT_SECONDS": "30",
}
_LONGEST_ANSWER = 60  # seconds for one request with its retries


@dataclass(frozen=True)
class Server:
    """A server that accepted the login's key, and the entity (a person or a team) that makes the requests."""

    api: Any
    entity: str

    @staticmethod
    def of_login() -> "Server":
        """The server of this machine's login, which is asked once for the entity.

        Raises:
            UserError: There is no login, the key is refused, or the server does not answer.
        """
        set_timeouts()
        mode = wandb_mode()
        if mode != "online" or not logged_in():
            named = [name for name in ("WANDB_DISABLED", "WANDB_MODE") if os.environ.get(name)]
            said = "" if mode == "online" or not named else f"{named[0]} is {os.environ[named[0]]}: unset it"
            raise UserError(f"W&B was not contacted because {said or f'there is no login: {LOG_IN}'}.")
        import wandb

        with plain_errors("Nothing was sent to W&B"):
            api = wandb.Api(timeout=_LONGEST_ANSWER)
            entity = os.environ.get("WANDB_ENTITY") or api.default_entity
        if not entity:
            raise UserError("the W&B login has no default entity. Expected one: set WANDB_ENTITY=...")
        return Server(api, entity)


def set_timeouts() -> None:
    """Limit W&B's retries in this process and its children, except where the environment sets them already."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(f"WANDB_{name}", value)
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def plain_errors(undone: str) -> Iterator[None]:
    """Turn whatever W&B raises in the block into a UserError that says what was not done, and why.

    Args:
        undone: What was not done: a main clause without a full stop.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # from wandb, its service, requests or the standard library
        raise UserError(f"{undone}: {reason(str(error) or type(error).__name__)}") from error
