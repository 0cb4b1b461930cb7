"""ONNX graphs as bytes: what is read of them, and written, without the ``onnx`` package."""
