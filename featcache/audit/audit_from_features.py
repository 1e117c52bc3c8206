"""The audit itself: a data set and what backbones see of it in, all that was found out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from featcache import __version__
from featcache.audit.audit_records import (
    Audit,
    AuditedBackbone,
    AuditedData,
    AuditedImage,
    ExactGroup,
    Leaked,
    NearGroup,
    Outlier,
    Suspect,
)
from featcache.audit.class_balance import balance
from featcache.audit.clean_list_entries import copies_to_drop
from featcache.audit.cosine_neighbours import directions, nearest
from featcache.audit.evidence import Evidence, Features
from featcache.audit.exact_copies import across_splits, conflicting_labels, exact_groups, leaks
from featcache.audit.findings import further, warnings
from featcache.audit.near_groups import KNOWN, MIN_IMAGES, Seen, near_copies, smallest_cosine
from featcache.audit.outliers import FENCE, outlier_scores
from featcache.audit.suspect_labels import confident_learning, of_known_classes, probabilities
from featcache.counted_nouns import counted
from featcache.records import SILENT, SPLITS, BadImage, Manifest, Progress
from featcache.relatives import relatives
from featcache.separability import Ints

LISTED = 40  # suspects, and outliers; more suspects where more are flagged


def audit(
    manifest: Manifest,
    features: Features,
    bad: Iterable[BadImage] = (),
    *,
    backbones: Sequence[AuditedBackbone] | None = None,
    folds: bool = False,
    progress: Progress = SILENT,
) -> Audit:
    """Look at the images of `manifest` by content hash and by `features`: backbone -> `[N, F]` in their order.

    Without features copies are found by content hash alone, and the audit says what was not looked at. `backbones`
    says where the features come from; `bad` are the files that could not be read. With `folds` train and val are one.
    """
    assert all(len(f) == len(manifest.images) for f in features.values())
    progress.begin("audit", len(features) + 1, "backbones")
    first, content = _contents(manifest)
    seen = _seen(features, first, progress)
    exact = exact_groups(manifest)
    numbers = near_copies(seen, lambda numbers: _kept(manifest, content, exact, numbers))
    groups = numbers[content] if seen else content
    near = _near_groups(manifest, content, seen, numbers)
    found = leaks(manifest, groups.tolist())
    parts = Audit(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        featcache=__version__,
        data=_data(manifest),
        backbones=tuple(backbones if backbones is not None else map(AuditedBackbone, features)),
        exact=exact,
        near=near,
        leaked=Leaked(tuple(sorted(found["val"])), tuple(sorted(found["test"]))),
        suspects=_suspects(manifest, features, relatives(manifest.images, groups.tolist())),
        outliers=_outliers(manifest, seen, first),
        balance=balance(manifest),
        quarantined=tuple(bad),
        warnings=(),
        further=further(Evidence(manifest, features, groups)),
        groups={i.name: i.group for i in manifest.images if i.group is not None},
        folds=folds,
    )
    progress.end(f"{counted(len(manifest.images), 'image')} looked at by {counted(len(features), 'backbone')}")
    return parts.with_warnings(warnings(parts))


def _contents(manifest: Manifest) -> tuple[Ints, Ints]:
    """The first image of each distinct content `[D]`, and the number of each image's content `[N]`."""
    _, first, content = np.unique([i.sha256 for i in manifest.images], return_index=True, return_inverse=True)
    return first.astype(np.int64), content.astype(np.int64)


def _seen(features: Features, first: Ints, progress: Progress) -> dict[str, Seen]:
    """The contents whose `first` images `[D]` these are, as each backbone sees them."""
    seen = {}
    for name, rows in features.items():
        turned = directions(rows[first])
        seen[name] = Seen(turned, nearest(turned, KNOWN))
        progress.advance(1)
    return seen


def _data(manifest: Manifest) -> AuditedData:
    images = {split: len(manifest.of(split)) for split in SPLITS}
    return AuditedData(manifest.name, str(manifest.root), manifest.fingerprint, manifest.classes, images)


def _kept(manifest: Manifest, content: Ints, exact: Sequence[ExactGroup], numbers: Ints) -> NDArray[np.bool_]:
    """Which contents `[D]` have a file left once copies are taken out, near ones being those with equal `numbers`."""
    near = _members(manifest, content, numbers)
    gone = copies_to_drop([g.images for g in exact], near.values())
    left = np.array([i.name not in gone for i in manifest.images])
    kept = np.zeros(len(numbers), dtype=np.bool_)
    kept[content[left]] = True
    return kept


def _members(manifest: Manifest, content: Ints, numbers: Ints) -> dict[int, list[AuditedImage]]:
    """The files of each group of two or more near contents."""
    sizes = np.bincount(numbers)
    members: dict[int, list[AuditedImage]] = defaultdict(list)
    for image, number in zip(manifest.images, numbers[content].tolist(), strict=True):
        if sizes[number] > 1:
            members[number].append(AuditedImage.of(image, manifest))
    return members


def _near_groups(manifest: Manifest, content: Ints, seen: Mapping[str, Seen], numbers: Ints) -> tuple[NearGroup, ...]:
    found = []
    for number, images in _members(manifest, content, numbers).items() if seen else ():
        cosine = smallest_cosine(seen, np.flatnonzero(numbers == number))
        found.append(NearGroup(tuple(images), cosine, across_splits(images), conflicting_labels(images)))
    found.sort(key=lambda g: (not g.across_splits, not g.conflicting_labels, g.images[0].name))
    return tuple(found)


def _suspects(manifest: Manifest, features: Features, groups: Ints) -> tuple[Suspect, ...]:
    labels = np.array([i.label for i in manifest.images], dtype=np.int64)
    p = probabilities(features.values(), labels, groups)
    if p is None:
        return ()
    issues = of_known_classes(confident_learning(p, labels), labels)
    found = []
    for place in issues.order[: max(LISTED, int(issues.flagged.sum()))].tolist():
        image, other = manifest.images[place], int(issues.suggested[place])
        found.append(
            Suspect(
                name=image.name,
                split=image.split,
                sha256=image.sha256,
                label=manifest.classes[image.label],
                suggested=manifest.classes[other],
                p_label=round(float(p[place, image.label]), 4),
                p_suggested=round(float(p[place, other]), 4),
                flagged=bool(issues.flagged[place]),
            )
        )
    return tuple(found)


def _outliers(manifest: Manifest, seen: Mapping[str, Seen], first: Ints) -> tuple[Outlier, ...]:
    if not seen or len(first) < MIN_IMAGES:
        return ()
    scores = outlier_scores([one.neighbours for one in seen.values()])
    found = []
    for place in np.argsort(-scores, kind="stable")[:LISTED].tolist():
        image, score = manifest.images[first[place]], round(float(scores[place]), 3)
        label = manifest.classes[image.label]
        found.append(Outlier(image.name, image.split, image.sha256, label, score, bool(scores[place] > FENCE)))
    return tuple(found)
