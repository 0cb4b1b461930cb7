"""From a PyTorch model to an ONNX graph with the names other runtimes expect."""
