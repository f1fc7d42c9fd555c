"""Settings that cannot work are refused before any image is read."""

from types import SimpleNamespace

import pytest

from xnorlit.errors import UserError
from xnorlit.training.refusals import refuse


class Config(SimpleNamespace):
    """Parsed settings as jsonargparse gives them."""

    def get(self, key):
        return getattr(self, key, None)

    def as_dict(self):
        return vars(self)


def config(**changed):
    settings = {
        "seed_everything": 0,
        "ckpt_path": None,
        "model": Config(init_from=None),
        "run": Config(resume=False, checkpoint_minutes=15.0),
        "trainer": Config(max_epochs=3),
    }
    return Config(**(settings | changed))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_a_seed_that_numpy_takes_is_one(seed):
    refuse("fit", config(seed_everything=seed))


@pytest.mark.parametrize(("seed", "said"), [(-1, "-1"), (2**32, "4294967296"), (True, "true"), (False, "false")])
def test_any_other_seed_is_refused(seed, said):
    with pytest.raises(UserError, match=rf"the seed is {said}\. Expected a whole number from 0 to 4294967295 "):
        refuse("fit", config(seed_everything=seed))


def test_a_checkpoint_has_to_exist(tmp_path):
    with pytest.raises(UserError, match=r"there is no checkpoint .*gone"):
        refuse("fit", config(ckpt_path=str(tmp_path / "gone")))
    (tmp_path / "there").touch()
    for command in ("fit", "validate", "test", "predict"):
        refuse(command, config(ckpt_path=str(tmp_path / "there")))


def test_a_measurement_is_of_a_checkpoint_or_of_a_packed_file(tmp_path):
    (tmp_path / "there").touch()
    for command in ("validate", "test", "predict"):
        with pytest.raises(UserError, match=f"{command} needs a checkpoint and its configuration"):
            refuse(command, config())
    refuse("validate", config(packed="net"))
    with pytest.raises(UserError, match="--packed and --ckpt_path were both given"):
        refuse("validate", config(packed="net", ckpt_path=str(tmp_path / "there")))
    refuse("validate", config(packed="net", trainer=Config(max_epochs=0)))  # which concerns trainings alone


@pytest.mark.parametrize("minutes", [0, 0.5])
def test_a_checkpoint_may_be_saved_at_each_step_but_not_before(minutes):
    refuse("fit", config(run=Config(resume=False, checkpoint_minutes=minutes)))
    with pytest.raises(UserError, match=r"run\.checkpoint_minutes is -0\.1\. Expected 0"):
        refuse("fit", config(run=Config(resume=False, checkpoint_minutes=-0.1)))
    with pytest.raises(UserError, match=r"trainer\.max_epochs is 0"):
        refuse("fit", config(trainer=Config(max_epochs=0)))


def test_initial_weights_are_read_for_a_new_run_and_not_for_a_resumed_one(tmp_path):
    gone = Config(init_from=tmp_path / "gone.ckpt")
    with pytest.raises(UserError, match=r"there is no checkpoint .*gone\.ckpt"):
        refuse("fit", config(model=gone))
    for resume in (True, "auto"):
        refuse("fit", config(model=gone, run=Config(resume=resume, checkpoint_minutes=15.0)))
