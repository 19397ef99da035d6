"""JSON columns of the store as pairs of names and texts. Pure."""

import json
from collections.abc import Sequence
from typing import Any

Pairs = tuple[tuple[str, str], ...]


def flatten(value: Any, name: str = "") -> Pairs:
    """A JSON value as (dotted name, text) pairs, in name order; a list is one value.

    >>> flatten({"b": {"c": [1, 2]}, "a": True})
    (('a', 'true'), ('b.c', '[1, 2]'))
    """
    if not isinstance(value, dict):
        return ((name, value if isinstance(value, str) else json.dumps(value)),)
    prefix = f"{name}." if name else ""
    return tuple(pair for key in sorted(value) for pair in flatten(value[key], f"{prefix}{key}"))


def merge_versions(versions: Sequence[Pairs]) -> Pairs:
    """Every package with its version; with all of them, oldest run first, where runs differ.

    >>> merge_versions([(("a", "1"), ("b", "1")), (("a", "2"), ("b", "1"))])
    (('a', '1, 2'), ('b', '1'))
    """
    found: dict[str, list[str]] = {}
    for pairs in versions:
        for package, version in pairs:
            if version not in found.setdefault(package, []):
                found[package].append(version)
    return tuple((package, ", ".join(found[package])) for package in sorted(found))
