"""Phase 2: backbone and head trained end to end, the backbone unfrozen step by step."""

from heads.finetune.finetune import fine_tune

__all__ = ["fine_tune"]
