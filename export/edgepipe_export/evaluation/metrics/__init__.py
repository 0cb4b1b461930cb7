"""Metrics of results against the right answers, one file each."""
