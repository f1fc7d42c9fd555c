"""Speed and size of the packed network, compared with torch, onnxruntime and OpenVINO on one machine.

Every figure is the median over rounds in which all sides take turns, with quartiles. Every ratio is taken within a
round; then the median is taken. A layer's time on the engine starts with real numbers, so it includes packing the input
into bits, and ends with the bits that the next layer reads. torch's time is that of the convolution or product alone;
8-bit opponents quantise their input, as ours packs it. OpenVINO's binary sides have our bits and thresholds and must
give our integers and our classes; otherwise their row says so. `OpenVINO binary inside` is the time of the node that
counts bits inside the whole network, from OpenVINO's own profiler. The other opponents have random weights, because no
side's speed depends on them.

The limits: `fp32 peak` is a loop of multiply-adds on registers; `bits peak` is the same for the kernels' counting
instructions; `tile` is the inner kernel on data in the first-level cache. A layer's share is the fraction of the bits
peak that the whole layer reaches.
"""
