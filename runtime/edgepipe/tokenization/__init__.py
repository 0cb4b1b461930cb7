"""Text to token ids and back, as the fast tokenizers of transformers do it."""
