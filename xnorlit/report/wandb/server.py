"""The W&B server that the login is for: who asks, how long an answer is waited for, and its refusals in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xnorlit.errors import UserError
from xnorlit.runs.login import logged_in, wandb_mode

LOG_IN = "log in once (wandb login; a key of one's own server: wandb login --host ADDRESS)"

REFUSED = "the server refuses the key, which has expired, was revoked, or may not write here: wandb login --relogin."
UNREACHABLE = "the server cannot be reached. Look to the network, and give the same command again."

# W&B goes on trying for minutes, and for days in an upload. Here somebody waits, and the same command goes on later.
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
_LONGEST_ANSWER = 60  # seconds that one request may take with its repetitions


@dataclass(frozen=True)
class Server:
    """A server that has accepted the login's key, and the entity (a person or a team) in whose name we ask."""

    api: Any
    entity: str

    @staticmethod
    def of_login() -> "Server":
        """The server of this machine's login, asked once who we are.

        Raises:
            UserError: There is no login, the key is refused, or the server does not answer.
        """
        be_patient()
        mode = wandb_mode()
        if mode != "online" or not logged_in():
            said = "" if mode == "online" else os.environ.get("WANDB_MODE")
            why = f"WANDB_MODE is {said}: unset it" if said else f"nobody is logged in: {LOG_IN}"
            raise UserError(f"W&B is not asked, because {why}.")
        import wandb

        with said_in_words("Nothing was sent to W&B"):
            api = wandb.Api(timeout=_LONGEST_ANSWER)
            entity = os.environ.get("WANDB_ENTITY") or api.default_entity
        if not entity:
            raise UserError("W&B's login belongs to no entity. Name one: WANDB_ENTITY=...")
        return Server(api, entity)


def be_patient() -> None:
    """Sets how often and how long W&B tries, for this process and those it starts; what is set already stays."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(f"WANDB_{name}", value)
    os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def said_in_words(undone: str) -> Iterator[None]:
    """Whatever W&B raises in the block becomes a UserError that says why, and what was left undone.

    Args:
        undone: A main clause without a full stop.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of wandb, of its service, of requests, of the standard library
        raise UserError(f"{undone}: {reason(str(error) or type(error).__name__)}") from error


def reason(message: str) -> str:
    """Why W&B failed, and what to do about it.

    Args:
        message: Of an exception, or of the wandb command.
    """
    low = message.lower()
    if any(word in low for word in _NO_ENTRY):
        return REFUSED
    if any(word in low for word in _NO_ANSWER):
        return UNREACHABLE
    return f"{' '.join(message.split())[:300]}."


_NO_ENTRY = (
    "error 401",
    "error 403",
    "401 client",
    "403 client",
    "unauthorized",
    "invalid api key",
)
_NO_ANSWER = (
    "connection refused",
    "no such host",
    "network is unreachable",
    "no route to host",
    "did not respond",
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection reset",
    '": eof',  # Post "http://...": EOF; a log that is cut short ends in EOF, too
    "giving up after",
)
