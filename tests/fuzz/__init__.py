"""Generated inputs by the thousand: every run has a seed, and the same seed gives the same run.

A campaign (:mod:`tests.fuzz.campaign`) makes its n-th case of the seed and n alone, so any case can be run again.
``python -m tests.fuzz --help`` says how.
"""
