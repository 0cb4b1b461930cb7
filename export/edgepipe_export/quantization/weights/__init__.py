"""Weights of a graph: which there are, and how they are stored in fewer bits."""
