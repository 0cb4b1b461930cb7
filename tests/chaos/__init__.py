"""Exports that are killed, disks that are full, clocks that jump, threads, forks and signals: ``make chaos``.

Each attack is a file; a case of it is a seed and what that draws. The same seed gives the same plan. What goes wrong is
printed with the command that runs that one case again.
"""
