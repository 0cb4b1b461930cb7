"""OpenVINO as an engine: sessions on the processor, its precisions, and models that it has compiled."""
