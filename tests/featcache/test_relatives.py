"""What links images links them by way of others, whatever their order."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from featcache.places import FilePlace
from featcache.records import ImageRecord
from featcache.relatives import family_names, joined, relatives


def test_joined_are_the_components_of_the_graph_of_equal_keys() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        kinds = [[None if k > 30 else int(k) for k in rng.integers(0, 60, 80)] for _ in range(3)]
        pairs = [
            (a, b) for kind in kinds for a in range(80) for b in range(a) if kind[a] is not None and kind[a] == kind[b]
        ]
        rows, columns = np.array(pairs).T
        _, expected = connected_components(coo_matrix((np.ones(len(rows)), (rows, columns)), (80, 80)), directed=False)
        found = joined(*kinds)
        first = {number: place for place, number in reversed(list(enumerate(expected.tolist())))}
        assert found.tolist() == [first[number] for number in expected.tolist()]
        assert len(set(found)) < 80


def image(name: str, sha256: str, group: str | None) -> ImageRecord:
    return ImageRecord(FilePlace.at(name), name, sha256, 0, "train", group)


def test_copies_join_groups_and_a_family_is_called_by_its_first_group() -> None:
    images = [image("0", "x", "b"), image("1", "y", "c"), image("2", "x", "c"), image("3", "z", None)]
    images += [image("4", "z", None), image("5", "w", "a")]
    assert relatives(images).tolist() == [0, 0, 0, 3, 3, 5]
    assert family_names(images) == ["b", "b", "b", "z", "z", "a"]
    assert relatives(images, [None, None, None, "near", None, "near"]).tolist() == [0, 0, 0, 3, 3, 3]
