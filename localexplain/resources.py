"""Where the files that ship beside the code are: prompts/, models/, eval/demo-texts/.

In a source checkout they lie in the folder that holds the package; a wheel carries them inside it, in _data/.
"""

from pathlib import Path

from localexplain.errors import UserError

PACKAGE = Path(__file__).resolve().parent
INSTALLED_FOLDER = "_data"


def resource(*parts: str, package: Path = PACKAGE) -> Path:
    """The shipped file or folder, e.g. `resource("prompts", "explain", "v1")`; it exists.

    `package` is the package's own folder. An installed package never looks outside itself: the folder above it is
    site-packages, where a folder named "models" belongs to somebody else.

    Raises UserError when it is missing.
    """
    installed = package / INSTALLED_FOLDER
    root = installed if installed.is_dir() else package.parent
    path = root.joinpath(*parts)
    if not path.exists():
        raise UserError(f"{'/'.join(parts)}: not found in {root}; install localexplain again, or check the name")
    return path


def model_folder(name: str) -> Path:
    """The folder of a model: a path, or the name of one that ships. A name that is neither comes back as a path."""
    path = Path(name)
    if not path.exists() and path.name == name:
        try:
            return resource("models", name)
        except UserError:
            return path  # whoever reads the folder says that it is not there
    return path
