"""The searches for tokens: greedy, sampling, beams."""
