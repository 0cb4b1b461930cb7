"""The forms that the weights of a checkpoint come in, beside one safetensors file of a whole model."""
