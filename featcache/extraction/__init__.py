"""Stage one: images to rows of features in the store, by one backbone or several side by side, and their profile."""

from featcache.extraction.batch_search import batch_on_record
from featcache.extraction.cost_estimate import CostEstimate, check, estimate_costs, untrained_backbone
from featcache.extraction.extraction_time import ExtractionTime, nearest_folder
from featcache.extraction.inference import Inference
from featcache.extraction.more_images import extract_more
from featcache.extraction.one_backbone import Extraction, extract, extract_backbone, fill_store
from featcache.extraction.row_extraction import decoded_blocks
from featcache.extraction.side_by_side import CachedFeatures, extract_all
from featcache.extraction.spread_backbones import spread_backbones
from featcache.extraction.store_fill import views_spec
from featcache.extraction.stored_rows import Indices, StoreRows, read_plain, read_rows, row_places

__all__ = [
    "CachedFeatures",
    "CostEstimate",
    "Extraction",
    "ExtractionTime",
    "Indices",
    "Inference",
    "StoreRows",
    "batch_on_record",
    "check",
    "decoded_blocks",
    "estimate_costs",
    "extract",
    "extract_all",
    "extract_backbone",
    "extract_more",
    "fill_store",
    "nearest_folder",
    "read_plain",
    "read_rows",
    "row_places",
    "spread_backbones",
    "untrained_backbone",
    "views_spec",
]
