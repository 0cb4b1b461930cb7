"""What every loaded variant has, whatever graphs it is made of: where it came from, where it runs, and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgepipe.backend.device import DeviceSpec
from edgepipe.backend.engines import device_profile
from edgepipe.backend.session import Session, SessionConfig, SessionOwner
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.errors import BundleError, InputError
from edgepipe.models.variants import choose_variant, stored_variant


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
        self._stored = stored_variant(self.dtype, config)
        self.directory: Path = bundle.path
        self.config: ModelConfig = bundle.config
        self.max_length = max_length
        self._bundle, self._session_config = bundle, config

    @property
    def device(self) -> DeviceSpec:
        """Where it runs, with the attributes of a ``torch.device``."""
        return self.session.device_spec

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on a processor, with no other device before it."""
        return self.session.on_cpu

    @property
    def few_shapes(self) -> bool:
        """Whether the first run of each shape takes long; see :class:`~edgepipe.backend.session.DeviceProfile`."""
        return device_profile(self._session_config).few_shapes

    @property
    def workers(self) -> int:
        """How many runs go side by side; see :class:`~edgepipe.backend.session.SessionConfig`."""
        return 1 if self._session_config is None else self._session_config.workers

    @property
    def output_shapes(self) -> Mapping[str, Sequence[int | str | None]]:
        """The outputs' declared shapes, with names or None for the dimensions that vary."""
        return self.session.output_shapes

    @property
    def num_threads(self) -> int:
        """Threads inside one operator."""
        return self.session.num_threads

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle where it came from, not its weights: whoever unpickles it loads the same bundle again."""
        config = self._session_config
        if config is not None and config.session_options is not None:
            raise InputError(
                "onnxruntime's session_options cannot be pickled, so neither can a model that was given some; leave "
                "session_options out"
            )
        return _load_again, (type(self), str(self.directory.absolute()), self._bundle.digest, self.dtype, config)

    def close(self) -> None:
        """Release the graphs and their memory. Closing twice does nothing; using it afterwards is a `ClosedError`."""
        self.session.close()

    def __repr__(self) -> str:
        closed = ", closed" if self.session.closed else ""
        return (
            f"{type(self).__name__}({str(self.directory)!r}, dtype={self.dtype!r}, device={str(self.device)!r}, "
            f"num_threads={self.num_threads}{closed})"
        )


def _load_again(
    kind: Callable[..., LoadedVariant], path: str, digest: str, dtype: str, config: SessionConfig | None
) -> LoadedVariant:
    """What was pickled, from its bundle.

    Raises:
        BundleError: the bundle is not there, or is another one.
    """
    if not Path(path).is_dir():
        raise BundleError(
            f"{path} is not here: a pickled model names its bundle and does not hold it; copy the bundle to that path"
        )

    def load(bundle: Bundle) -> LoadedVariant:
        if bundle.digest != digest:
            raise BundleError(f"{path} is another bundle than the one that was pickled; pickle the model again")
        return kind(bundle, dtype, config)

    return Bundle.load(path).read(load)
