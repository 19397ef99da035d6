import pytest

from localexplain.errors import UserError
from localexplain.resources import resource


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x", encoding="utf-8")
    return path


def test_finds_what_ships_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (resource("prompts", "explain", "v1") / "instruction.j2").is_file()
    assert resource("prompts", "explain", "v1").is_absolute()


def test_checkout_looks_beside_the_package(tmp_path):
    package = tmp_path / "localexplain"
    package.mkdir()
    file = touch(tmp_path / "models" / "tiny" / "config.json")
    assert resource("models", "tiny", "config.json", package=package) == file


def test_installed_looks_inside_the_package_only(tmp_path):
    package = tmp_path / "site-packages" / "localexplain"
    inside = touch(package / "_data" / "prompts" / "a.j2")
    touch(tmp_path / "site-packages" / "prompts" / "a.j2")
    touch(tmp_path / "site-packages" / "models" / "b")  # another distribution's folder of that name
    assert resource("prompts", "a.j2", package=package) == inside
    with pytest.raises(UserError, match="models/b: not found"):
        resource("models", "b", package=package)


def test_missing_is_named_in_one_line(tmp_path):
    with pytest.raises(UserError) as caught:
        resource("prompts", "none", package=tmp_path / "localexplain")
    assert str(caught.value).startswith("prompts/none: not found in ")
    assert "\n" not in str(caught.value)
