"""W&B's login and mode, and plain messages for its errors. Training, dashboard and sync use this."""

import os
from typing import Literal

from xnorlit.errors import UserError, did_you_mean

REFUSED = "the server refuses the key: it is expired, revoked or not allowed to write here. Run wandb login --relogin."
UNREACHABLE = "the server cannot be reached. Check the network."

UNSENT = ".unsent"
"""Suffix of the marker file beside an online run's log, which stays until the server has the whole log."""

# WANDB_MODE as W&B understands it, and what it means here.
_MODES: dict[str, Literal["online", "offline", "off"]] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}


def wandb_mode() -> Literal["online", "offline", "off"]:
    """WANDB_MODE or WANDB_DISABLED if set; else online with a login, offline without.

    The key of the login is not tested, so it may have expired.

    Raises:
        UserError: WANDB_MODE or another variable of W&B is invalid.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
        return "off"
    said = os.environ.get("WANDB_MODE", "")
    if said:
        check_environment()
        return _MODES[said.lower()]
    return "online" if logged_in() else "offline"


def check_environment() -> None:
    """Refuse an unknown WANDB_MODE before training is set up; W&B would fail later.

    Raises:
        UserError: WANDB_MODE is invalid.
    """
    said = os.environ.get("WANDB_MODE", "")
    if said and said.lower() not in _MODES:
        raise UserError(
            f"WANDB_MODE is {said!r}.{did_you_mean(said, _MODES)} Expected {', '.join(_MODES)}. Set it to one of these "
            "or unset it."
        )


def logged_in() -> bool:
    """Whether WANDB_API_KEY or an earlier `wandb login` provides a key. Nothing is sent to the server.

    Raises:
        UserError: The key or another setting of W&B is invalid.
    """
    check_environment()
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    try:
        return bool(wandb.login(prompt=False, verify=False))
    except Exception as error:  # from wandb, or from pydantic about WANDB_BASE_URL and others
        why = " ".join(str(error).split())[:300]
        raise UserError(
            f"W&B's settings are invalid: {why}. Correct the environment variables WANDB_... or log in again (wandb "
            "login). To train without W&B: --run.wandb off."
        ) from error


def project(named: str = "xnorlit") -> str:
    """The W&B project of runs: WANDB_PROJECT if set.

    Args:
        named: The project if WANDB_PROJECT is not set.
    """
    return os.environ.get("WANDB_PROJECT") or named


def reason(message: str) -> str:
    """Why W&B failed, and what to do about it.

    Args:
        message: The message of an exception or of the wandb command.
    """
    low = message.lower()
    if any(word in low for word in _NO_ENTRY):
        return REFUSED
    if any(word in low for word in _NO_ANSWER):
        return UNREACHABLE
    return f"{' '.join(message.split())[:300]}."


_NO_ENTRY = ("error 401", "error 403", "401 client", "403 client", "unauthorized", "invalid api key")
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
    '": eof',  # as in: Post "http://...": EOF. A truncated log ends in EOF too, without the quotation mark.
    "giving up after",
)
