"""What the full model costs on this device, in each way to run it: latency, throughput, MACs, peak memory."""

from featcache.profiling.card_state import CardReading, CardState, ReadCard, card_reader
from featcache.profiling.deployed_ways import Run, Way, WayMeasurement, WaysAsked, measure_ways, require_precisions
from featcache.profiling.latency import noise_images, seconds_a_pass
from featcache.profiling.macs import count_macs
from featcache.profiling.model_profile import profile_model
from featcache.profiling.onnx_latency import OnnxMeasurement, OnnxTiming, profile_onnx

__all__ = [
    "CardReading",
    "CardState",
    "OnnxMeasurement",
    "OnnxTiming",
    "ReadCard",
    "Run",
    "Way",
    "WayMeasurement",
    "WaysAsked",
    "card_reader",
    "count_macs",
    "measure_ways",
    "noise_images",
    "profile_model",
    "profile_onnx",
    "require_precisions",
    "seconds_a_pass",
]
