"""The runtime on processors that are not here: ``make test-arm64`` and ``make test-x86``, with qemu's user mode.

Emulation shows what a processor's instructions compute, and which it lacks. It shows nothing of speed.
"""
