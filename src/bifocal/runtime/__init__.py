"""Runs packed models without torch: analysis, synthesis and the exact networks, on NumPy and ONNX Runtime."""
