"""Keys of rows: a hash of all that determines them, so that what exists is never computed again."""

import hashlib
import json
from dataclasses import asdict, is_dataclass
from typing import Any

KEY_BYTES = 16  # 128 bits: no collision among billions of rows


def canonical_json(value: Any) -> str:
    """JSON with sorted keys; a dataclass as its fields.

    >>> canonical_json({"b": (1, 2), "a": None})
    '{"a":null,"b":[1,2]}'
    """
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(*parts: Any) -> str:
    """Hexadecimal hash of the parts in order; each is JSON-like or a dataclass."""
    text = "\n".join(canonical_json(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).hexdigest()
