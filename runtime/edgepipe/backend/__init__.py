"""Inference engines. No other room imports one."""
