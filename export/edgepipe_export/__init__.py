"""edgepipe_export: fine-tuned checkpoints to bundles of quantized ONNX graphs.

    from edgepipe_export import export

    export("path/or/hub-id", "bundle", dtypes=("fp32", "int8"))

Importing this package imports neither torch nor transformers; they come with the first call.
"""

from edgepipe_export.auditor import Audit, audit
from edgepipe_export.exporter import export
from edgepipe_export.reporting.report import report
from edgepipe_export.verifier import Verification, verify

__all__ = ["Audit", "Verification", "audit", "export", "report", "verify"]
