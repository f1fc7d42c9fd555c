"""Published results, shown beside a pair. They were not measured here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedPair:
    """A published pair of networks: accuracies in percent on ImageNet's validation set."""

    title: str
    source: str
    data: str
    binary_top1: float
    binary_top5: float
    float_top1: float
    float_top5: float


@dataclass(frozen=True)
class Claim:
    """A factor that a paper claims over a float network."""

    what: str
    factor: float
    source: str


UFES = PublishedPair(
    title="AlexNet-XNOR against AlexNet",
    source="XNOR-Net: Classificação Utilizando Redes Neurais Binárias (UFES), Torch 7 on one Titan X",
    data="ImageNet",
    binary_top1=43.112,
    binary_top5=70.341,
    float_top1=54.623,
    float_top5=78.854,
)
"""The paper's Table 1. The paper stored binary values as floats, so it saved neither memory nor time."""

CLAIMS = (
    Claim("less memory for the weights", 32, "XNOR-Net (Rastegari et al., 2016), as quoted by the UFES paper"),
    Claim("faster convolution on a CPU", 58, "XNOR-Net (Rastegari et al., 2016), as quoted by the UFES paper"),
)
"""Factors from the original paper, which the UFES paper quotes but did not measure."""
