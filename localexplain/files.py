"""Small files that are written whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes beside the target and renames, so that a kill leaves the old file or the new one. Raises OSError, with
    nothing left beside the target."""
    scratch = path.with_name(f"{path.name}.partial")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
