"""Inference engines behind one protocol; the only room that knows one.

Others use :func:`~edgepipe.backend.engines.create_session` and what :mod:`~edgepipe.backend.session` and
:mod:`~edgepipe.backend.device` declare. To add an engine, write a folder with an
:class:`~edgepipe.backend.session.Engine`, and give it a line in :data:`edgepipe.backend.engines.ENGINES`.
"""
