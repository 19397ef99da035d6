"""The commands of `localexplain bundle`: make, check, install."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from localexplain.carry.script import run_check, run_install
from localexplain.output import print_json, say

if TYPE_CHECKING:
    from localexplain.carry.make import Order


def order_from(arguments: argparse.Namespace) -> "Order":
    """What the flags of `bundle make` ask for. Raises UserError for a model that cannot be carried."""
    from localexplain.carry.contents import choose_models
    from localexplain.carry.make import Order
    from localexplain.carry.wheels import running_python

    return Order(
        out=arguments.out,
        models=choose_models([name for name in arguments.models.split(",") if name], arguments.store),
        part_bytes=arguments.part_size,
        engine=arguments.engine,
        python=arguments.python or running_python(),
        platform=arguments.platform,
        wheels=arguments.wheels,
        index=arguments.index,
        data=tuple(arguments.data),
        with_tests=arguments.with_tests,
    )


def command_make(arguments: argparse.Namespace) -> None:
    from localexplain.carry.make import make

    made = make(order_from(arguments), report=say)
    bundle = made.bundle
    if arguments.json:
        print_json(
            {
                "id": bundle.id,
                "digest": made.digest,
                "out": str(arguments.out),
                "parts": bundle.parts,
                "files": len(bundle.files),
                "bytes": bundle.total_bytes,
                "python": bundle.python,
                "platform": bundle.platform,
                "is_new": made.is_new,
            }
        )
        return
    parts = f"{bundle.parts} part{'' if bundle.parts == 1 else 's'}"
    state = "" if made.is_new else ", there already and unchanged"
    print(f"{arguments.out}: bundle {bundle.id}{state}")
    print(f"{parts}, {len(bundle.files)} files, {bundle.total_bytes} bytes")
    print(f"for Python {bundle.python} on {bundle.platform}")
    print(f"digest {made.digest}")
    print("Carry the digest by another way than the parts, and give it to `check` and `install` as --digest.")


BUNDLE_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "make": command_make,
    "check": run_check,
    "install": run_install,
}
