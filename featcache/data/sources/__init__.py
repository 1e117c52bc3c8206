"""Where images come from: a file for each kind of source, all of which give rows of name, place, label and split."""

from featcache.data.sources.folder_tree import printable, unreadable
from featcache.data.sources.recognition import GROUP, SOURCES, is_folder, list_images, recognise
from featcache.data.sources.rows import SPLIT_NAMES, DataSource, Listing, Row

__all__ = [
    "GROUP",
    "SOURCES",
    "SPLIT_NAMES",
    "DataSource",
    "Listing",
    "Row",
    "is_folder",
    "list_images",
    "printable",
    "recognise",
    "unreadable",
]
