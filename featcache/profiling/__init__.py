"""What the full model costs on this device: latency, throughput, MACs, peak memory; and what an ONNX file takes."""

from featcache.profiling.model_profile import profile_model
from featcache.profiling.onnx_latency import OnnxMeasurement, OnnxTiming, profile_onnx

__all__ = [
    "OnnxMeasurement",
    "OnnxTiming",
    "profile_model",
    "profile_onnx",
]
