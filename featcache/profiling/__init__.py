"""What the full model costs on this device: latency, throughput, MACs, peak memory."""

from featcache.profiling.model_profile import profile_model

__all__ = [
    "profile_model",
]
