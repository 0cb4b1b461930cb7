"""Tokenizers that transformers runs in Python, converted to fast ones."""
