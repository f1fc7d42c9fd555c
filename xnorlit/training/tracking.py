"""Logging to W&B. Training continues if the server refuses, hangs or disappears."""

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override

from xnorlit.edge.console import say
from xnorlit.runs import login
from xnorlit.training.place import RunPlace

ANSWER_SECONDS = 5  # for the first answer of a server
BEGIN_SECONDS = 20  # for starting a run; W&B would wait for 90 s
FINISH_SECONDS = 60  # for the last rows and files at the end of a run


class Tracked(WandbLogger):
    """Lightning's logger for a started W&B run, which ends with the training.

    A marker file stays beside the log of an online run until the server has the whole log. `xnorlit sync` uploads what
    is missing.

    Args:
        run: Result of `wandb.init`.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(experiment=run)
        self.run_id: str = run.id
        self.offline = bool(run.offline)
        self._broken = False
        log = Path(run.settings.sync_file)
        self._unsent = log.with_name(log.name + login.UNSENT)
        self._errors = Path(run.settings.sync_dir) / "logs" / "debug-internal.log"
        if not self.offline:
            self._unsent.parent.mkdir(parents=True, exist_ok=True)
            self._unsent.touch()

    @property
    def record(self) -> dict[str, Any]:
        """`{id, offline}` of the W&B run; under `wandb agent` the agent chooses the id."""
        return {"id": self.run_id, "offline": self.offline}

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._broken:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # its service died, or another process ended the run
            self._broken = True
            say("wandb", f"logging stopped ({login.reason(str(error))[:-1]}); metrics.csv has every row")

    @override
    def finalize(self, status: str) -> None:
        """End the run, and wait a limited time for the rest of the upload.

        Args:
            status: Status from Lightning, such as `success`.
        """
        try:
            super().finalize(status)
            self.experiment.finish(exit_code=0 if status == "success" else 1)
        except Exception as error:  # a TimeoutError, or its service died
            self._broken = True
            why = login.reason(str(error) or type(error).__name__)
        else:
            why = self._first_error()
        if self.offline or not self._unsent.exists():
            return
        if why:
            say("wandb", f"the upload is incomplete: {why} Upload the rest with xnorlit sync.")
        else:
            self._unsent.unlink()

    def _first_error(self) -> str:
        """The first error of the upload; empty if there was none."""
        if not self._errors.is_file():
            return ""
        for line in self._errors.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and str(said.get("level")).startswith("ERROR"):
                return login.reason(f"{said.get('msg')} {said.get('error', '')}")
        return ""


def tracked(
    place: RunPlace, folder: Path, seed: int, config: dict[str, Any], run_id: str, mode: Literal["online", "offline"]
) -> Tracked:
    """Start a W&B run: group = pair, job type = arm. It never prompts and waits only briefly.

    If the server does not answer or refuses the key, the run is logged offline, and `xnorlit sync` uploads it later.

    Args:
        place: The place of the run.
        folder: The run's folder, which also holds W&B's offline files.
        seed: The run's seed.
        config: Resolved configuration, flattened.
        run_id: Id of the W&B run; a resumed run keeps its id.
        mode: The requested mode.
    """
    import wandb

    pair = f"{place.experiment}/{place.pair}"

    def begun(mode: str) -> Any:
        return wandb.init(
            project=login.project(),
            name=f"{pair}/{place.arm}/seed-{seed}",
            id=run_id,
            resume="allow",
            dir=folder,
            mode=mode,  # type: ignore[arg-type]
            group=pair,
            job_type=place.arm,
            tags=[place.experiment, place.pair, place.arm],
            config={"pair_id": pair, "arm": place.arm, "seed": seed, **config},
            settings=wandb.Settings(
                silent=True,
                console="off",
                # W&B would record the name of the machine; environment.json describes the hardware.
                host="not recorded",
                init_timeout=BEGIN_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )

    if mode == "online":
        try:
            problem = "" if _answers(wandb.setup().settings) else login.UNREACHABLE
            run = None if problem else begun("online")
        except Exception as error:  # from wandb, its service, or the standard library
            problem, run = login.reason(str(error) or type(error).__name__), None
        if run is None:
            wandb.teardown()  # Otherwise the online start keeps retrying.
            say("wandb", f"logging offline: {problem.partition('. ')[0].rstrip('.')}. Upload later with xnorlit sync")
            run = begun("offline")
    else:
        run = begun("offline")
    # Lightning counts optimizer steps, W&B counts calls. Only steps join the parts of a resumed run.
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return Tracked(run)


def _answers(settings: Any) -> bool:
    """Whether an HTTP server answers at the address. A thread asks, because name resolution may take long.

    Args:
        settings: Settings of W&B.
    """
    answered: list[bool] = []

    def ask() -> None:
        proxies = {"http": settings.http_proxy, "https": settings.https_proxy}
        given = {scheme: address for scheme, address in proxies.items() if address}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(given or None))
        try:
            with opener.open(str(settings.base_url), timeout=ANSWER_SECONDS):
                answered.append(True)
        except urllib.error.HTTPError as error:
            answered.append(error.code < 500)
        except urllib.error.URLError as error:
            answered.append(isinstance(error.reason, ssl.SSLError))  # W&B may use its own certificates.
        except Exception:  # not HTTP
            answered.append(False)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return answered == [True]


def tracking_mode(wanted: Literal["auto", "online", "offline", "off"]) -> Literal["online", "offline", "off"]:
    """Resolve `auto`: WANDB_MODE or WANDB_DISABLED if set, else online with a login and offline without.

    Args:
        wanted: The setting of the run.

    Raises:
        UserError: A W&B variable in the environment has an unknown value.
    """
    if wanted == "auto":
        return login.wandb_mode()
    if wanted != "off":
        login.check_environment()
    return wanted
