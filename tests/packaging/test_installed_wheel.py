"""What `pip install` of the built wheel gives, in an empty folder: no clone is needed for anything in the documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import write_digits

ROOT = Path(__file__).resolve().parents[2]
READ_ALL = """
import json, sys
from pathlib import Path
from featcache.options import config_files, load_options, shipped_config
from heads.recipes import load_recipe_search
from heads.search import load_sweep
found = {}
for name in json.load(sys.stdin):
    if name.startswith("configs/sweeps/"):
        load_sweep(name)
    elif name.startswith("configs/searches/"):
        load_recipe_search(name)
    elif not name.endswith(".schema.json"):
        load_options(name)
    found[name] = shipped_config(name.removeprefix("configs/")).read_text(encoding="utf-8")
print(json.dumps([found, len(config_files(["configs/phase1"]))]))
"""


def run(*command: str | Path, given: str | None = None, cwd: Path | None = None) -> str:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FEATCACHE"))}
    done = subprocess.run(
        list(map(str, command)), input=given, cwd=cwd, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that the wheel was installed into; what featcache needs is there
    already, from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("featcache-*.whl")
    home = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = home / "lib" / version / "site-packages"
    (own / "what_featcache_needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(home / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", wheel)
    return home / "bin"


@pytest.mark.slow  # the wheel is built, for which the package index is asked
def test_the_demo_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import featcache; print(featcache.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(installed.parent)  # and not the sources that are tested
    shown = run(installed / "featcache", "demo", "--small", "-q", "--device", "cpu", cwd=tmp_path)
    assert "tf_efficientnet_lite0" in shown and "featcache init" in shown
    assert {file.name for file in tmp_path.iterdir()} == {"cache", "results"}
    assert (tmp_path / "results" / "report.html").stat().st_size > 500_000


@pytest.mark.slow
def test_every_config_is_there_by_the_name_that_the_documents_have(installed: Path, tmp_path: Path) -> None:
    names = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "configs").rglob("*.json"))
    found, phase1 = json.loads(run(installed / "python", "-c", READ_ALL, given=json.dumps(names), cwd=tmp_path))
    assert found == {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    assert phase1 == len(list((ROOT / "configs" / "phase1").glob("*.json"))) > 10
    said = run(installed / "featcache", "schema", "--sweep", cwd=tmp_path)
    assert json.loads(said) == json.loads((ROOT / "configs" / "sweep.schema.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_options_for_ones_own_images_are_written_and_run(installed: Path, tmp_path: Path) -> None:
    write_digits(tmp_path / "photos", {"": 12})
    featcache = installed / "featcache"
    run(featcache, "init", "--images", "photos", "--networks", "small", "--device", "cpu", "--yes", "-q", cwd=tmp_path)
    quick = ("model.pretrained=false", "model.input_size=32", "training.epochs=2", "profile.iterations=2")
    sets = [part for one in quick for part in ("--set", one)]
    said = run(featcache, "benchmark", "configs/photos", "-q", "--device", "cpu", *sets, "--json", cwd=tmp_path)
    assert {row["run"] for row in json.loads(said)["rows"]} == {
        f"photos_{name}" for name in ("mobilenet_v3_large", "efficientnet_b0", "resnet18", "resnet50")
    }
