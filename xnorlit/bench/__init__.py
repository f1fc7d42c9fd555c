"""How fast and how small the packed network is, beside torch and onnxruntime on the same machine.

Every figure is the median over rounds in which all sides took their turn, with its quartiles; every ratio is taken
within a round, and then the median. A layer's time on the engine begins with real numbers: the packing of its input
into bits is included, and it ends with the bits that the next layer reads. torch's time is that of the convolution or
product alone; 8-bit sides quantise their input, as ours packs it. The weights of what it is measured against are
random: no side's speed depends on them.

The limits: `fp32 peak` is a loop of multiply-adds on registers alone; `bits peak` the same of the kernels' own counting
instructions; `tile` the inner kernel on data in the first-level cache. A layer's share is the part of the bits peak
that the whole layer reaches.
"""
