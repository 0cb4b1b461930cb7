"""A bundle proves itself where it runs: its probes, how they are run and compared, and the verdicts that are kept."""
