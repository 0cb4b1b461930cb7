"""What transformers answers, frozen; ``python -m tests.golden.make`` writes it again."""
