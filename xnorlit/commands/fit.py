"""`xnorlit fit|validate|test|predict`: LightningCLI with our module and data module."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from typing_extensions import override

from xnorlit.commands.help import binarizer_list
from xnorlit.commands.parser import by_defining_module, settings_of, with_current_path
from xnorlit.commands.wording import another_process, explain, quiet
from xnorlit.data import ImageData
from xnorlit.edge import atomic
from xnorlit.edge.console import say
from xnorlit.edge.processes import is_first
from xnorlit.errors import UserError
from xnorlit.runs.arm import named
from xnorlit.runs.config import flatten, load_config
from xnorlit.runs.lock import CHECKPOINTS, state_of
from xnorlit.runs.settings import config_files, read_config, with_recipes
from xnorlit.training.checkpoints import Checkpoints, newest, where
from xnorlit.training.environment import changes_since
from xnorlit.training.layer_curves import LayerCurves
from xnorlit.training.loggers import MetricsFile
from xnorlit.training.module import Classifier
from xnorlit.training.place import RunPlace, claim, discard_if_empty, refuse_other_config, top1
from xnorlit.training.predictions import PredictionsFile
from xnorlit.training.progress import progress
from xnorlit.training.record import RunRecord
from xnorlit.training.refusals import refuse
from xnorlit.training.saving import Saving
from xnorlit.training.sync import SteadySync
from xnorlit.training.tracking import tracked, tracking_mode

_NO_TEXT = "Unable to serialize instance "
"""Text that the parser writes in place of a value that it cannot serialise."""


class XnorlitCLI(LightningCLI):
    """LightningCLI with a folder and records for each run, and with plain error messages."""

    def __init__(self, command: str) -> None:
        self._command = command
        super().__init__(Classifier, ImageData, **settings_of(command))

    @override
    def subcommands(self) -> dict[str, set[str]]:
        """Only the called command. Building the parsers of the other three would take three times as long again."""
        return {self._command: super().subcommands()[self._command]}

    @override
    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = super().init_parser(**{"allow_abbrev": False, **kwargs})
        for action in parser._actions:
            if action.dest == "print_config":
                action.metavar = "[=FLAGS]"  # Replaces one that begins with a backspace.
        return parser

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        command, *argv = sys.argv[1:]
        argv = sys.argv[2:] = [with_current_path(argument) for argument in with_recipes(argv)]
        files = list(config_files(argv))
        for file in files:
            read_config(file)
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            options = [
                name
                for action in self._parser(command)._actions
                for name in action.option_strings
                if name.startswith("--")  # The list also contains links between settings.
            ]
            raise UserError(explain(str(error), command, options, files)) from error
        self.config[command].run.arm = named(self.config[command].run.arm, argv)
        refuse(command, self.config[command])

    def _parse_ckpt_path(self) -> None:
        """Do nothing. Lightning would read settings from the checkpoint, but a run's settings are in config.yaml."""

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(RunPlace, "run")
        parser.link_arguments("seed_everything", "data.seed")

    @override
    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "validate":
            parser.add_argument(
                "--packed", type=Path | None, default=None, help="measure this packed file instead of a checkpoint"
            )
        return parser

    @override
    def before_instantiate_classes(self) -> None:
        config = self._config()
        self.place: RunPlace = RunPlace(**config.run.as_dict())
        if self.subcommand == "fit":
            self._claim(config)

    def _config(self) -> Namespace:
        return self.config[self.subcommand]

    def resolve(self, config: Namespace) -> str:
        """The configuration in YAML, as a run records it.

        Args:
            config: Configuration of the command; `run.resume` and `run.fresh` are reset in it.
        """
        config.run.resume, config.run.fresh = False, False
        whole = by_defining_module(yaml.safe_load(self._parser(self.subcommand).dump(config, skip_unset=False)))
        for key, value in flatten(whole).items():
            if str(value).startswith(_NO_TEXT):
                raise UserError(
                    f"{key} cannot be recorded, so the run could not be repeated: {value.removeprefix(_NO_TEXT)} has "
                    f"no text form. Give --{key} as text or a number."
                )
        return yaml.safe_dump(whole, default_flow_style=False, allow_unicode=True, sort_keys=False)

    def _claim(self, config: Namespace) -> None:
        seed = int(config.seed_everything)
        self.folder = self.place.at(seed)
        fresh, auto = self.place.fresh, self.place.resume == "auto" and not self.place.fresh
        self.resolved = self.resolve(config)
        self.wandb_mode = tracking_mode(self.place.wandb)  # This may fail, so it comes before claiming the folder.
        state = state_of(self.folder)
        resume = state == "unfinished" if auto else self.place.resume is True
        finished = auto and state == "finished"
        self.lock = claim(self.folder, resume=resume, fresh=fresh, again=auto) if is_first() and not finished else None
        if resume or finished:
            refuse_other_config(flatten(yaml.safe_load(self.resolved)), self._stored_config(), self.folder)
        if finished:
            # A process that was killed at its end may have left the marker.
            (self.folder / "checkpoints" / CHECKPOINTS[1]).unlink(missing_ok=True)
            atomic.sweep(self.folder)
            raise _FinishedError(f"{self.folder} has finished ({top1(self.folder)}): there is nothing left to train")
        self.rows: int | None = None
        self.until_step, self.wandb_id, self.wandb = 0, secrets.token_hex(4), None
        if resume:
            newest_one, former = newest(self.folder / "checkpoints")
            self.until_step = former["global_step"]
            self.rows = former["callbacks"].get("Saving", {}).get("rows")
            self.wandb_id = former["callbacks"]["RunRecord"]["wandb_id"] or self.wandb_id
            config.ckpt_path = str(newest_one)
            config.model.init_from = None  # The checkpoint already contains its effect.
            say("resume", f"{self.folder}: continues {where(former)} of {config.trainer.max_epochs}")
            if changed := changes_since(self.folder / "environment.json"):
                say("", f"changed since the start: {changed}; the last digits of the results may differ")

    def _stored_config(self) -> dict[str, Any]:
        """The flat configuration of the existing run, with defaults for settings that its version lacked."""
        file = self.folder / "config.yaml"
        theirs = load_config(file)
        try:
            whole = self._parser(self.subcommand).parse_object(theirs)
        except ArgumentError:  # The run has settings that this version lacks; the caller reports the differing keys.
            return flatten(theirs)
        return flatten(yaml.safe_load(self.resolve(whole)))

    @override
    def instantiate_classes(self) -> None:
        try:
            # Lightning's own code calls a deprecated function of jsonargparse.
            self.config_init = self.parser.instantiate(self.config)
            self.datamodule, self.model = (self._get(self.config_init, part) for part in ("data", "model"))
            self.trainer = self.instantiate_trainer()
            if packed := self._config().get("packed"):
                from xnorlit.export.validation import PackedClassifier  # Training does not need the compiled engine.

                self.model = PackedClassifier(packed)
        except BaseException as error:
            self._release()
            if isinstance(error.__cause__, UserError):  # The parser's own error would only list types.
                raise error.__cause__ from None
            raise

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except SystemExit:
            if self.trainer.state.status == TrainerStatus.INTERRUPTED:  # Lightning exits with status 1.
                raise KeyboardInterrupt from None
            raise
        finally:
            self._release()

    def after_validate(self) -> None:
        """Called by Lightning after it has printed the results."""
        if self._config().get("packed"):
            self.model.say_what_the_file_says()

    def _release(self) -> None:
        """Release the run's folder, and remove it if the run never started."""
        if self.subcommand == "fit":
            discard_if_empty(self.folder)
            if self.lock:
                self.lock.close()

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        wanted = self._config().trainer.enable_progress_bar is not False
        trainer = self._trainer(**kwargs, enable_progress_bar=wanted and sys.stdout.isatty())
        trainer.strategy.checkpoint_io = Checkpoints()
        if self._config().trainer.sync_batchnorm and isinstance(trainer.strategy, ParallelStrategy):
            trainer.strategy._layer_sync = SteadySync()  # Lightning refuses a plugin beside this setting.
        return trainer

    def _trainer(self, **kwargs: Any) -> Trainer:
        if self.subcommand != "fit":
            # Beside the checkpoint, because the run's own `predictions.safetensors` are those of the last epoch.
            beside = Path(self._config().ckpt_path or "predictions").with_suffix(".predictions.safetensors")
            writers = [PredictionsFile(beside)] if self.subcommand == "predict" else []
            return super().instantiate_trainer(logger=False, callbacks=writers, **kwargs)
        flat = flatten(yaml.safe_load(self.resolved))
        loggers: list[Logger] = [MetricsFile(self.folder, self.until_step, self.rows)]
        if self.wandb_mode != "off" and is_first():
            seed = flat["seed_everything"]
            tracker = tracked(self.place, self.folder, seed, flat, self.wandb_id, self.wandb_mode)
            self.wandb = tracker.record
            loggers.append(tracker)
        return super().instantiate_trainer(
            logger=loggers, default_root_dir=self.folder, callbacks=[*self._aids(), *self._callbacks()], **kwargs
        )

    def _aids(self) -> list[Callback]:
        """The callbacks of the recipe, and always LayerCurves."""
        listed = self.config_init[self.subcommand].trainer.callbacks or []
        listed = listed if isinstance(listed, list) else [listed]
        return listed if any(isinstance(aid, LayerCurves) for aid in listed) else [*listed, LayerCurves()]

    def _callbacks(self) -> list[Callback]:
        record = RunRecord(self.folder, self.resolved, self.wandb, resumed=bool(self.until_step))
        return [
            record,
            progress(self._config().trainer.enable_progress_bar is not False),
            Saving(record, self.place.checkpoint_minutes),
        ]


class _FinishedError(Exception):
    """The run to resume has already finished, which is not an error."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one LightningCLI command.

    Args:
        command: fit, validate, test or predict.
        arguments: The arguments after the command.

    Raises:
        UserError: The arguments are wrong, or refer to missing or invalid files or classes.
    """
    quiet()
    # Lightning uses sys.argv to start the other processes of a distributed run.
    sys.argv[1:] = [command, *arguments]
    if arguments and arguments[-1] == "--model.binarizer.help":
        sys.stdout.write(binarizer_list(command))
        return
    try:
        XnorlitCLI(command)
    except _FinishedError as finished:
        say("done", str(finished))
    except MisconfigurationException as error:
        raise UserError(f"{error} See xnorlit {command} --help.") from error
    except RuntimeError as error:
        if why := another_process(error):
            raise UserError(why) from error
        raise


def fit(*argv: str) -> None:
    """Run `xnorlit fit` with LightningCLI's parser."""
    run("fit", argv)


def validate(*argv: str) -> None:
    """Run `xnorlit validate` with LightningCLI's parser."""
    run("validate", argv)


def test(*argv: str) -> None:
    """Run `xnorlit test` with LightningCLI's parser."""
    run("test", argv)


def predict(*argv: str) -> None:
    """Run `xnorlit predict` with LightningCLI's parser."""
    run("predict", argv)
