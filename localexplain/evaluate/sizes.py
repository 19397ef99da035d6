"""How many parameters a model folder holds: read off its safetensors headers, without loading a weight."""

import json
import math
from pathlib import Path

from localexplain.errors import UserError

HEADER_LENGTH_BYTES = 8  # little-endian, before the JSON header. Source: the safetensors format


def count_file(path: Path) -> int:
    """Numbers in one safetensors file. Raises UserError for a file that is none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEADER_LENGTH_BYTES), "little")
            header = json.loads(file.read(length))
        return sum(math.prod(item["shape"]) for name, item in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
        raise UserError(f"{path}: not a safetensors file; put the file back") from error


def count_parameters(folder: Path) -> int | None:
    """Of all the folder's safetensors files together; None where it has none. A packed, quantised weight counts as the
    numbers it is stored in."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(count_file(file) for file in files) if files else None
