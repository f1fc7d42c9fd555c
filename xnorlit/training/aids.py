"""The callbacks that a recipe may list under `trainer.callbacks`, by their short names."""

from pytorch_lightning.callbacks import EMAWeightAveraging

from xnorlit.training.layer_curves import LayerCurves
from xnorlit.training.recalibration import Recalibration
from xnorlit.training.stages import TwoStages

AIDS = (EMAWeightAveraging, LayerCurves, Recalibration, TwoStages)
