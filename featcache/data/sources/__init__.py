"""Where images come from: a file for each kind of source, all of which give rows of name, place, label and split."""

from featcache.data.sources.folder_tree import composed, printable, unreadable
from featcache.data.sources.images_below import images_below
from featcache.data.sources.lone_folder import entered
from featcache.data.sources.number_labels import fold_numbers
from featcache.data.sources.recognition import GROUP, SOURCES, is_folder, list_images, recognise
from featcache.data.sources.rows import SPLIT_NAMES, DataSource, Listing, Row

__all__ = [
    "GROUP",
    "SOURCES",
    "SPLIT_NAMES",
    "DataSource",
    "Listing",
    "Row",
    "composed",
    "entered",
    "fold_numbers",
    "images_below",
    "is_folder",
    "list_images",
    "printable",
    "recognise",
    "unreadable",
]
