"""Train binary AlexNets and their float twins, compare the pair, and measure what binarisation costs and gives."""

__version__ = "0.1.0"
