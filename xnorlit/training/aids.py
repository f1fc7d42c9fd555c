"""The callbacks that a recipe may list under `trainer.callbacks`, by their short names."""

from xnorlit.training.recalibration import Recalibration
from xnorlit.training.stages import TwoStages

AIDS = (Recalibration, TwoStages)
