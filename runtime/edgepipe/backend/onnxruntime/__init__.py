"""onnxruntime as an engine: sessions, execution providers, memory on a device."""
