"""What the full model costs on this device: latency, throughput, MACs, peak memory; and what an ONNX file takes."""

from featcache.profiling.latency import noise_images, seconds_a_pass
from featcache.profiling.macs import count_macs
from featcache.profiling.model_profile import profile_model
from featcache.profiling.onnx_latency import OnnxMeasurement, OnnxTiming, profile_onnx

__all__ = [
    "OnnxMeasurement",
    "OnnxTiming",
    "count_macs",
    "noise_images",
    "profile_model",
    "profile_onnx",
    "seconds_a_pass",
]
