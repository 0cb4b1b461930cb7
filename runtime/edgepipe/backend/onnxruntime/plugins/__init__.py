"""Execution providers that come as packages of their own."""
