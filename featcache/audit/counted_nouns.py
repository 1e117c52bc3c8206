"""A number and a noun become words, as the sentences of an audit have them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """The number before its noun, in the plural unless it is one."""
    return f"{number} {noun}{'s' * (number != 1)}"


def have(number: int) -> str:
    """The verb after so many."""
    return "has" if number == 1 else "have"
