"""Graphs of a bundle: named arrays in, named arrays out."""
