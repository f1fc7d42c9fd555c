"""The opponents: torch in fp32, compiled and in int8, and onnxruntime in int8."""
