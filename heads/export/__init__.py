"""Use of what won elsewhere: a finished run as ONNX, torch.export, safetensors or timm, compared with the run."""

from heads.export.deployed_timing import NetworkWays, time_deployed
from heads.export.export_parity import Parity
from heads.export.request import FORMATS, LIMITS, PRECISIONS, ExportRequest, Limits
from heads.export.run_export import Exported, export_run

__all__ = [
    "FORMATS",
    "LIMITS",
    "PRECISIONS",
    "ExportRequest",
    "Exported",
    "Limits",
    "NetworkWays",
    "Parity",
    "export_run",
    "time_deployed",
]
