"""Scores of tokens and what bends them: logits processors, warpers for sampling, watermarks, guidance."""
