"""Record what each binarizer computes: `python -m tests.binarize.golden` rewrites golden.json.

Other tests check formulas by hand and against other implementations. This one notices every other change: another
rounding, a moved bound, a missing step.
"""

import json
from pathlib import Path

import torch

from xnorlit.binarize import binarizers
from xnorlit.layers import BinaryConv2d

FILE = Path(__file__).with_suffix(".json")
FEW = 5  # numbers kept of each tensor, evenly spread, besides the sum of squares over the whole tensor
SETTINGS = {
    "AdaBin": [{}, {"centre": "scaled"}],
    "BNN": [{}],
    "BWN": [{"gradient": gradient} for gradient in ("corrected", "paper", "ste")] + [{"scale": "none"}],
    "BiReal": [{}, {"weight_gradient": "magnitude"}],
    "BinaryConnect": [{}, {"inference": "real"}],
    "BinaryDuo": [{}, {"stage": "decoupled"}],
    "DoReFa": [
        {"weight_bits": weights, "input_bits": inputs, "gradient_bits": 32}
        for weights, inputs in ((1, 1), (1, 2), (2, 3), (4, 8), (8, 4))
    ],
    "Float": [{}],
    "HWGQ": [{}],
    "Heaviside": [{}],
    "IRNet": [{}],
    "LSQ": [
        {"weight_bits": weights, "input_bits": inputs, **more}
        for weights, inputs, more in ((2, 2, {}), (3, 4, {"scope": "filter"}), (8, 8, {}), (4, 1, {}))
    ],
    "LowPrecision": [{"every": 2}, {"format": "half"}, {"format": "fixed", "integer_bits": 3}],
    "PACT": [{}, {"weight_bits": 4, "input_bits": 4}],
    "RBNN": [{}],
    "ReActNet": [{}],
    "ReCU": [{}],
    "SiMaN": [{}],
    "SwishSign": [{}, {"beta": 2.0}],
    "TTQ": [{}],
    "TWN": [{}, {"scope": "layer"}, {"inputs": "sign"}],
    "XNOR": [{}, {"input_scale": "K"}, {"gradient": "paper"}, {"gradient": "ste"}],
    "XNORPlusPlus": [{}, {"scale": "rank-1"}],
}


def cases():
    """`(binarizer, settings)` for each binarizer that accepts these settings."""
    return [(name, settings) for name, many in SETTINGS.items() for settings in many]


def computed(name, settings):
    """Outputs, gradients and state over three steps in the middle of a training, and the evaluation."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # random numbers of the binarizer itself

    def initialise(layer):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64) * 0.7)
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator, dtype=torch.float64))

    layer = BinaryConv2d(
        4, 4, 3, padding=1, dtype=torch.float64, binarizer=binarizers()[name](**settings), rectify=True, extent=(5, 5),
        initialise=initialise,
    ).double()  # fmt: skip
    found = {}
    with torch.no_grad():
        layer.binarizer.fit(layer.weight)
    for step in range(3):
        layer.binarizer.on_epoch(step + 1, 5)
        x = torch.randn(2, 4, 5, 5, generator=generator, dtype=torch.float64) * (1 + step)
        x.requires_grad_()
        layer.zero_grad()
        y = layer.train()(x)
        y.square().sum().backward()
        found |= {f"{step} y": y, f"{step} x": x.grad}
        found |= {f"{step} {key}": each.grad for key, each in layer.named_parameters() if each.grad is not None}
        with torch.no_grad():
            for each in layer.parameters():
                if each.grad is not None:
                    each.sub_(0.1 * each.grad / each.grad.abs().max().clamp_min(1e-9))
        layer.after_step()
    found |= {f"held {key}": value for key, value in layer.state_dict().items()}
    found["evaluated"] = layer.eval()(torch.randn(2, 4, 5, 5, generator=generator, dtype=torch.float64))
    return {key: kept(value) for key, value in found.items()}


def kept(value):
    flat = value.detach().double().flatten()
    some = flat[torch.linspace(0, len(flat) - 1, min(FEW, len(flat))).long()]
    return [*some.tolist(), flat.square().sum().item()]


def main():
    table = {}
    for name, settings in cases():
        table[json.dumps([name, settings])] = computed(name, settings)
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())
    FILE.write_text(f"{{\n{rows}\n}}\n")


if __name__ == "__main__":
    main()
