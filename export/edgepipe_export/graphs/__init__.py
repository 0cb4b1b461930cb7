"""Wrapper modules and dynamic shapes: a PyTorch model becomes an ONNX graph with the names other runtimes expect."""
