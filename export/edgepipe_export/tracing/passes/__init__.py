"""Passes over a traced graph, one file each."""
