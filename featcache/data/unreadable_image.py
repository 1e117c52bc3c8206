"""Why there are no pixels of an image: the errors of decoding, which name the reason that the quarantine list gives."""

from __future__ import annotations


class UnreadableImageError(Exception):
    """This file is no image that can be read; the message is the reason. It goes to the quarantine list."""


class GivenUpError(UnreadableImageError):
    """Its decoder was stopped by a limit, or died: left out by this command, and tried again by the next."""
