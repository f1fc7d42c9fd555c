"""A run on W&B, beside metrics.csv: it may refuse, hang or go away, and training goes on all the same."""

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

ANSWER_SECONDS = 5  # for the first answer of a server that is there
BEGIN_SECONDS = 20  # for the beginning of a run on it; W&B's own 90 s are a cluster's money
FINISH_SECONDS = 60  # for the last rows and files at the end of a run


class Tracked(WandbLogger):
    """Lightning's logger for a run that has begun, and that is ended with training.

    A note lies beside the log of an online run until all of it is on the server: `xnorlit sync` uploads what is left.

    Args:
        run: Of `wandb.init`.
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
        """`{id, offline}` as W&B has them: under `wandb agent` the id is the agent's."""
        return {"id": self.run_id, "offline": self.offline}

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._broken:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:  # its service has died, or the run was ended from elsewhere
            self._broken = True
            say("wandb", f"no longer logged there ({login.reason(str(error))[:-1]}); metrics.csv has every row")

    @override
    def finalize(self, status: str) -> None:
        """Ends the run, as finished or not, and waits a bounded time for what is still to be sent.

        Args:
            status: Lightning's: `success`, or what else came of training.
        """
        try:
            super().finalize(status)
            self.experiment.finish(exit_code=0 if status == "success" else 1)
        except Exception as error:  # a TimeoutError, or its service has died
            self._broken = True
            why = login.reason(str(error) or type(error).__name__)
        else:
            why = self._first_error()
        if self.offline or not self._unsent.exists():
            return
        if why:
            say("wandb", f"not all is on the server: {why} The rest is kept, for xnorlit sync   (make sync)")
        else:
            self._unsent.unlink()

    def _first_error(self) -> str:
        """What the upload failed at, in words; empty where nothing did."""
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
    """A run of one arm of a pair: group = pair, job type = arm; nothing is ever asked, and little is waited for.

    Where the server does not answer, or refuses the key, the run is logged offline and `xnorlit sync` uploads it.

    Args:
        place: Where the run is filed.
        folder: The run's folder, which holds W&B's own offline files too.
        seed: The run's seed.
        config: Resolved configuration, flattened.
        run_id: W&B's name of the run; a resumed run keeps it.
        mode: What is wanted.
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
                # W&B notes the machine's name by itself; a run says what it was trained on (environment.json).
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
        except Exception as error:  # of wandb, of its service, of the standard library
            problem, run = login.reason(str(error) or type(error).__name__), None
        if run is None:
            wandb.teardown()  # What had begun online goes on trying otherwise.
            say("wandb", f"logged offline: {problem.partition('. ')[0].rstrip('.')}. Upload it later: xnorlit sync")
            run = begun("offline")
    else:
        run = begun("offline")
    # Lightning's step counts optimizer steps, W&B's counts calls; only the former joins the parts of a resumed run.
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return Tracked(run)


def _answers(settings: Any) -> bool:
    """Whether anything that speaks HTTP answers at the server's address, asked aside: names may be looked up for long.

    Args:
        settings: W&B's.
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
            answered.append(isinstance(error.reason, ssl.SSLError))  # W&B has certificates of its own.
        except Exception:  # no HTTP at all
            answered.append(False)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return answered == [True]


def tracking_mode(wanted: Literal["auto", "online", "offline", "off"]) -> Literal["online", "offline", "off"]:
    """What `auto` comes to: WANDB_MODE or WANDB_DISABLED if set, else online where a login is found, else offline.

    Args:
        wanted: The run's setting.

    Raises:
        UserError: W&B's variables in the environment have no meaning.
    """
    if wanted == "auto":
        return login.wandb_mode()
    if wanted != "off":
        login.check_environment()
    return wanted
