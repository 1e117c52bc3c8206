"""A number and a noun become words: "1 run", "2 runs", wherever a sentence counts something."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """The number before its noun, in the plural unless it is one."""
    return f"{number} {nouns(number, noun)}"


def nouns(number: int, noun: str) -> str:
    """The noun alone as it stands after so many, where other words come between or the number is written otherwise."""
    if number == 1:
        return noun
    if noun.endswith(("s", "x", "ch")) and not noun.endswith("epoch"):  # whose ch is a k
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def have(number: int) -> str:
    """The verb after so many."""
    return "has" if number == 1 else "have"


def are(number: int) -> str:
    """The same of being."""
    return "is" if number == 1 else "are"


def them(number: int) -> str:
    """What stands for so many where they were named before."""
    return "it" if number == 1 else "them"


def size_said(size: int) -> str:
    """So many bytes in words: of what is small, never "0.0 MB"."""
    if size < 1e3:
        return counted(size, "byte")
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
