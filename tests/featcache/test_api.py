"""What `import featcache` and `import heads` promise."""

from __future__ import annotations

import subprocess
import sys

import pytest

import featcache


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", marks=pytest.mark.slow),  # the order in which the tests themselves import
        "import heads; heads.train_model",
    ],
)
def test_every_public_name_is_what_it_says_in_any_order_of_imports(before: str) -> None:
    code = (
        f"{before}\n"
        "from featcache import blocks, check, extract, load_base_config, load_backbone, load_model, load_options\n"
        "from featcache import load_run, set_model_freeze\n"
        "from heads import train_model, trainModel\n"
        "assert train_model is trainModel\n"
        "for f in (check, extract, load_base_config, load_backbone, load_model, load_options, load_run, train_model,\n"
        "    blocks, set_model_freeze):\n"
        "    assert callable(f) and f.__doc__, f\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_is_sorted_and_complete() -> None:
    assert sorted(featcache.__all__) == featcache.__all__
    assert all(getattr(featcache, name) is not None for name in featcache.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = featcache.no_such_name
