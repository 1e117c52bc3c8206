"""The copies of an audit become sentences, lines and pictures: leaks, labels that differ, copies within a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from featcache.audit.audit_records import Audit, AuditedImage, ExactGroup, NearGroup
from featcache.audit.finding_views import PICTURED, Groups, Lines, Pictured, PicturedGroup, Remark
from featcache.counted_nouns import counted, have
from featcache.relatives import joined

Group = ExactGroup | NearGroup


def leaks_said(audit: Audit) -> Iterator[str]:
    """Evaluation images that a copy gives away. Folds of train and val keep identical files together, and near copies
    only where they are of one group."""
    for split, seen in (("test", "train or val"), ("val", "train")):
        if split == "val" and audit.folds:
            yield from _parted_said(audit)
            continue
        names = audit.leaked.test if split == "test" else audit.leaked.val
        total = audit.data.images["test" if split == "test" else "val"]
        if names:
            yield (
                f"{counted(len(names), f'{split} image')} of {total} ({len(names) / total:.1%}) "
                f"{have(len(names))} a copy in {seen}, such as {names[0]}: accuracy on {split} is better than it "
                "would be on new images."
            )


def _parted_said(audit: Audit) -> Iterator[str]:
    names = sorted(name for group in audit.near for name in _parted(group, audit.groups))
    total = audit.data.images["train"] + audit.data.images["val"]
    if names:
        yield (
            f"{counted(len(names), 'image')} of {total} in train and val ({len(names) / total:.1%}) {have(len(names))} "
            f"a near copy that folds may part from it, such as {names[0]}: accuracy in folds is better than it would "
            "be on new images. --write-groups FILE keeps them together."
        )


def _parted(group: NearGroup, groups: Mapping[str, str]) -> list[str]:
    """The images of train and val whose near copy need not be in the same fold."""
    pool = [i for i in group.images if i.split != "test"]
    known = joined([i.sha256 for i in pool], [groups.get(i.name) for i in pool]).tolist()
    return [i.name for i in pool] if len(set(known)) > 1 else []


def conflicts_said(audit: Audit) -> Iterator[str]:
    """Copies whose labels differ."""
    for groups, what in _both(audit):
        mixed = [g for g in groups if g.conflicting_labels]
        if mixed:
            one = mixed[0].images[0]
            other = next(i for i in mixed[0].images if i.label != one.label)
            yield (
                f"{counted(len(mixed), 'group')} of {what} {have(len(mixed))} different labels, such as {one.name} "
                f"({one.label!r}) and {other.name} ({other.label!r}): at most one is right."
            )


def within_said(audit: Audit) -> Iterator[str]:
    """Copies within one split."""
    for groups, what in _both(audit):
        within = [g for g in groups if not g.across_splits]
        if within:
            yield (
                f"{counted(len(within), 'group')} of {what} within one split, such as {within[0].images[0].name} and "
                f"{within[0].images[1].name}: such an image counts more than once."
            )


def across_lines(audit: Audit) -> Iterator[Lines]:
    """A line for each group across splits."""
    yield _lines(audit, "Copies across splits", lambda group: group.across_splits)


def conflict_lines(audit: Audit) -> Iterator[Lines]:
    """A line for each group whose labels differ."""
    yield _lines(audit, "Copies with different labels", lambda group: group.conflicting_labels)


def copy_pictures(audit: Audit) -> Iterator[Groups]:
    """Every kind of copies with pictures, the most serious first."""
    if audit.exact:
        yield _pictures("Exact copies", audit.exact, "files with the same bytes")
    if audit.near:
        yield _pictures("Near copies", audit.near, "files that show the same picture")


def _both(audit: Audit) -> tuple[tuple[Sequence[Group], str], tuple[Sequence[Group], str]]:
    return (audit.exact, "identical files"), (audit.near, "near copies")


def _lines(audit: Audit, title: str, wanted: Callable[[Group], bool]) -> Lines:
    copies: list[Group] = [*audit.exact, *audit.near]
    return Lines(title, tuple(_line(group) for group in copies if wanted(group)))


def _line(group: Group) -> str:
    names = ", ".join(i.name for i in group.images)
    if isinstance(group, ExactGroup) or not group.cosine:
        return f"{names} (identical)"
    return f"{names} (cosine {', '.join(f'{c:.4f}' for c in group.cosine.values())})"


def _pictures(title: str, groups: Sequence[Group], what: str) -> Groups:
    shown = f", the first {PICTURED} shown" if len(groups) > PICTURED else ""
    across = sum(g.across_splits for g in groups)
    serious = sorted(groups, key=lambda g: (not g.conflicting_labels, not g.across_splits))
    return Groups(
        title,
        f"{counted(len(groups), 'group')} of {what}, {across} of them across splits{shown}.",
        tuple(PicturedGroup(tuple(map(_image, g.images)), tuple(_remarks(g))) for g in serious[:PICTURED]),
    )


def _image(image: AuditedImage) -> Pictured:
    return Pictured(image.name, (Remark(image.split), Remark(image.label)))


def _remarks(group: Group) -> Iterator[Remark]:
    if group.across_splits:
        yield Remark("across splits", "bad")
    if group.conflicting_labels:
        yield Remark("labels differ", "bad")
    if isinstance(group, NearGroup):
        cosines = ", ".join(f"{cosine:.3f} ({backbone})" for backbone, cosine in group.cosine.items())
        yield Remark(f"cosine {cosines}", "cosine")
