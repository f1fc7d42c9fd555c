"""The modules that the engine knows, and what to use in place of others."""

import re

from torch import nn

from xnorlit.binarize.adabin import Maxout
from xnorlit.binarize.reactnet import RPReLU
from xnorlit.export.nodes import Add, Affine, AveragePool, Clip, Concat, GlobalAverage, Shift, Subsample, TwoSlope
from xnorlit.layers import AdaptiveAvgPool2d, BatchNorm1d, BatchNorm2d, BinaryConv2d, BinaryLinear, Conv2d, Linear
from xnorlit.layers.norms import RowNorm
from xnorlit.models.built import DuplicateChannels, Normalize, WholeNorm

# What the engine knows. These are the leaves of a trace, as is the post layer of each binary layer.
LAYERS = (BinaryConv2d, BinaryLinear, nn.Conv2d, nn.Linear, Conv2d, Linear)
NORMS = (BatchNorm1d, BatchNorm2d, RowNorm, nn.BatchNorm1d, nn.BatchNorm2d, WholeNorm)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.Hardtanh, RPReLU, Maxout)
WITHOUT_EFFECT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.Identity)
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, AdaptiveAvgPool2d)
POOLS = (nn.MaxPool2d, *AVERAGES)
SHAPING = (nn.Flatten, DuplicateChannels, Normalize)
JOINS = (Add, Concat)
SMALL = (Affine, Shift, TwoSlope, Clip, Subsample, AveragePool, GlobalAverage, *JOINS)
KNOWN: tuple[type[nn.Module], ...] = (*LAYERS, *NORMS, *ACTIVATIONS, *WITHOUT_EFFECT, *POOLS, *SHAPING, *SMALL)

REGISTER = "register its class with xl.register_node if modules that have one compute the same"
REMEDIES = (
    ("softmax", "leave it out: a packed network gives logits"),
    ("avg|average|mean", "use a square average pool (nn.AvgPool2d), nn.AdaptiveAvgPool2d(1), or a max pool"),
    ("batch_?norm", "use nn.BatchNorm2d, or nn.BatchNorm1d after a flattening"),
    ("norm", "use nn.BatchNorm2d"),
    ("conv|linear|matmul|addmm", f"use nn.Conv2d, nn.Linear, or the binary ones; for a layer of your own, {REGISTER}"),
    ("pad", "pad channels with zeros, or give the layer or the pool a padding"),
    ("getitem|chunk|split|narrow", "slice by a stride alone (x[:, :, ::2, ::2]), or use a convolution"),
    ("add|cat|stack", "combine whole maps of one shape, or add constants of one number per channel"),
    ("sub|mul|div", "leave scales to the layers and the norms, and normalise pixels by the mean and std of pack"),
    ("clamp|clip|threshold", "use nn.ReLU or nn.Hardtanh"),
    ("prelu", "use nn.PReLU"),
    ("^abs$|^sign$", f"use nn.PReLU or a binary layer; for a layer of your own, {REGISTER}"),
    ("sigmoid|tanh|gelu|elu|silu|mish|swish|soft|abs|sign|exp|square|sqrt|pow", "use nn.ReLU, nn.PReLU or nn.Hardtanh"),
    ("drop", "drop only in training (training=self.training)"),
    ("view|reshape|flatten|squeeze|permute|transpose", "flatten the whole map with torch.flatten(x, 1)"),
)


# Methods without a part in evaluation, and those of nn.Module with one.
ASIDE = {
    *("extra_repr", "reset_parameters", "reset_running_stats", "bind", "keep_real", "after_step"),
    *("_load_from_state_dict", "_check", "_check_input_dim", "_check_binarizer", "_trained", "_over_all_processes"),
}
CALLS = {"forward", "__call__", "_wrapped_call_impl", "_call_impl", "__getattr__", "__getattribute__"}


def is_one_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a module is of one of these classes and evaluates as that class does."""
    return any(isinstance(module, kind) and not own_methods(module, kind) for kind in kinds)


def own_methods(module: nn.Module, kind: type[nn.Module]) -> list[str]:
    """Which methods of a class a module computes otherwise, because its subclass or the module itself replaces them.

    Args:
        module: An instance of the class.
        kind: The class.
    """
    named = {name for base in kind.__mro__ if base not in nn.Module.__mro__ for name in vars(base)}
    named = {name for name in named if not name.startswith("__")} - ASIDE | CALLS
    places = [*(vars(base) for base in type(module).__mro__ if base not in kind.__mro__), vars(module)]
    found = ((name, value) for place in places for name, value in place.items() if name in named)
    return [name for name, value in found if callable(value) or hasattr(value, "__get__")]  # no plain settings


def no_form(kind: str, what: str) -> str:
    """Why something is refused, with a remedy.

    Args:
        kind: Name of its class or function.
        what: How the message calls it.
    """
    return f"{what} has no packed form; {remedy_for(kind)}"


def remedy_for(kind: str) -> str:
    """What to use in place of a class or a function of that name."""
    known = (remedy for pattern, remedy in REMEDIES if re.search(pattern, kind, re.IGNORECASE))
    return next(
        known,
        f"leave it out, or use a layer, a norm, an activation or a max pool that has one; "
        f"for a layer of your own, {REGISTER}",
    )
