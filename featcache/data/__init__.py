"""The images: a folder, table or archive of them scanned into a manifest, and each decoded into tensors."""

from featcache.data.augmentations import spec_digest
from featcache.data.content_hashes import ContentNote, HashMemo
from featcache.data.data_view import DataView, OddFile, look_over
from featcache.data.decoded_image import ChangedFileError, Task, UnreadFileError
from featcache.data.decoded_scratch import Scratch
from featcache.data.decoder import Decoded, Decoder
from featcache.data.demo_digits import DEMO_DIGITS
from featcache.data.exclude_list import names_listed
from featcache.data.file_formats import READER
from featcache.data.found_again import locate, regroup
from featcache.data.image_files import decode_image
from featcache.data.image_groups import group_images
from featcache.data.image_weights import relative_weights, weights_digest
from featcache.data.manifest import load_manifest
from featcache.data.quarantine_list import quarantine, quarantined, readable
from featcache.data.repaired_list import list_repaired, look_for_truncated
from featcache.data.sources import DataSource, Listing, Row, images_below
from featcache.data.split_cutting import require_folds
from featcache.data.split_table import write_split_table
from featcache.data.survey import Survey, survey
from featcache.data.transforms import EvalTransform, normalise
from featcache.data.unreadable_image import GivenUpError, UnreadableImageError

__all__ = [
    "DEMO_DIGITS",
    "READER",
    "ChangedFileError",
    "ContentNote",
    "DataSource",
    "DataView",
    "Decoded",
    "Decoder",
    "EvalTransform",
    "GivenUpError",
    "HashMemo",
    "Listing",
    "OddFile",
    "Row",
    "Scratch",
    "Survey",
    "Task",
    "UnreadFileError",
    "UnreadableImageError",
    "decode_image",
    "group_images",
    "images_below",
    "list_repaired",
    "load_manifest",
    "locate",
    "look_for_truncated",
    "look_over",
    "names_listed",
    "normalise",
    "quarantine",
    "quarantined",
    "readable",
    "regroup",
    "relative_weights",
    "require_folds",
    "spec_digest",
    "survey",
    "weights_digest",
    "write_split_table",
]
