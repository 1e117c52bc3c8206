"""The images: an image folder scanned into a manifest, and files decoded into tensors."""

from featcache.data.images import decode_image, normalise, to_uint8
from featcache.data.manifest import load_manifest

__all__ = ["decode_image", "load_manifest", "normalise", "to_uint8"]
