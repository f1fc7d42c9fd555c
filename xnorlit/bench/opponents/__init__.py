"""The same computations by others: torch in fp32, compiled and in int8, onnxruntime in int8."""
