"""An installed wheel works from any folder: what ships beside the code is in it and is found."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.build
def test_wheel_carries_prompts_models_and_texts(tmp_path: Path) -> None:
    """Built, installed into a folder of its own, and used from another one with the checkout out of reach."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("localexplain/_data/prompts/explain/v1/") for name in names)
    assert not any(name.startswith(("tests/", "localexplain/_data/models/tiny-subject/checkpoint")) for name in names)
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, text=True)
    code = (
        "import localexplain, json; from localexplain.prompts import load_prompt; "
        "from localexplain.cli import main; "
        "assert main(['capture', 'run', '--units', 'sample:4', '--set', 'capture.units=sample:4', "
        "'--set', 'corpus.max_excerpts=40', '--json']) == 0; "
        "print(json.dumps([localexplain.__file__, load_prompt('explain', 'v1').identity]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    summary, (where, prompt) = (json.loads(line) for line in done.stdout.splitlines())
    assert summary["units"] == 4
    assert Path(where).is_relative_to(site)
    assert prompt.startswith("explain/v1@")
