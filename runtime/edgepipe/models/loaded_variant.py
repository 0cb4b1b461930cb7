"""What every loaded variant has, whatever graphs it is made of: where it came from, where it runs, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgepipe.backend.device import DeviceSpec
from edgepipe.backend.session import Session, SessionConfig, SessionOwner
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.models.variants import choose_variant


class LoadedVariant(SessionOwner):
    """A variant of a bundle, loaded.

    Attributes:
        directory: The bundle's directory.
        config: The checkpoint's ``config.json``.
        dtype: The variant that was loaded.
        max_length: Longest input in tokens; None where there is no limit.
        session: The session of its graph; of several graphs that of the last one.
    """

    session: Session

    def __init__(self, bundle: Bundle, dtype: str | None, config: SessionConfig | None, max_length: int | None) -> None:
        """Choose the variant; the graphs are for the subclass to load."""
        self.dtype: str = choose_variant(bundle, dtype, config)
        self.directory: Path = bundle.path
        self.config: ModelConfig = bundle.config
        self.max_length = max_length

    @property
    def device(self) -> DeviceSpec:
        """Where it runs, with the attributes of a ``torch.device``."""
        return self.session.device_spec

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on a processor, with no other device before it."""
        return self.session.on_cpu

    @property
    def output_shapes(self) -> Mapping[str, Sequence[int | str | None]]:
        """The outputs' declared shapes, with names or None for the dimensions that vary."""
        return self.session.output_shapes

    @property
    def num_threads(self) -> int:
        """Threads inside one operator."""
        return self.session.num_threads

    def close(self) -> None:
        """Release the graphs and their memory. Closing twice does nothing; using it afterwards is a `ClosedError`."""
        self.session.close()

    def __repr__(self) -> str:
        closed = ", closed" if self.session.closed else ""
        return (
            f"{type(self).__name__}({str(self.directory)!r}, dtype={self.dtype!r}, device={str(self.device)!r}, "
            f"num_threads={self.num_threads}{closed})"
        )
