"""What a bundle's parts carry beside the content: a zipped Python program that checks and installs, and the line of
shell that starts it. Both need nothing but Python's standard library."""

import argparse
import errno
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localexplain.errors import LocalexplainError, UserError

PROGRAM, INSTALLER = "localexplain-carry.pyz", "install.sh"
MODULES = ("__init__", "errors", "files", "carry/__init__", "carry/bundle", "carry/check", "carry/install",
           "carry/lock", "carry/manifest", "carry/platforms", "carry/receive", "carry/script")  # fmt: skip
EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip knows: the same bytes whenever it is made
READABLE = 0o644 << 16
MAIN = "import sys\n\nfrom localexplain.carry.script import main\n\nsys.exit(main())\n"
SHELL = """\
#!/bin/sh
# sh install.sh TARGET [MORE PARTS ...]: installs this part of a bundle, and those given, into the folder TARGET.
# PYTHON names the Python to use; it must be @PYTHON@.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ $# -lt 1 ]; then
    echo "usage: sh install.sh TARGET [MORE PARTS ...]" >&2
    exit 2
fi
target=$1
shift
for python in "${PYTHON:-}" python@PYTHON@ python3; do
    if [ -n "$python" ] && command -v "$python" >/dev/null 2>&1; then
        exec "$python" -I "$here/localexplain-carry.pyz" install "$here" "$@" --to "$target"
    fi
done
echo "localexplain: no Python found; set PYTHON to the path of a Python @PYTHON@" >&2
exit 2
"""


def installer_text(python: str) -> str:
    return SHELL.replace("@PYTHON@", python)


def program_bytes(package: Path) -> bytes:
    """The program, from the modules in the package's folder; the same bytes from the same modules."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        contents = {f"localexplain/{name}.py": (package / f"{name}.py").read_bytes() for name in MODULES}
        for name, content in sorted((contents | {"__main__.py": MAIN.encode()}).items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.external_attr = READABLE
            archive.writestr(entry, content)
    return packed.getvalue()


# the program ----------------------------------------------------------------------------------------------------------


def add_receiving(kinds: Any) -> None:
    """The commands of the other side, `check` and `install`, with their flags; localexplain's own command line has them
    too."""
    check = kinds.add_parser("check", help="hash everything; name what is missing or changed")
    install = kinds.add_parser("install", help="with no network; again and in any order where parts come one by one")
    install.add_argument("--to", type=Path, required=True, metavar="DIR")
    for single in (check, install):
        single.add_argument("parts", type=Path, nargs="+", metavar="DIR", help="the bundle's folder, or parts of it")
        single.add_argument("--digest", metavar="HEX", help="that `bundle make` printed, carried by another way")
        single.add_argument("--json", action="store_true", help="print one JSON value and nothing else")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Checks and installs a bundle, with no network.")
    add_receiving(parser.add_subparsers(dest="kind", required=True, metavar="KIND"))
    return parser


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_check(arguments: argparse.Namespace) -> None:
    """Prints what is wrong, a line each. Raises UserError where anything is."""
    from localexplain.carry.check import check_bundle

    checked = check_bundle(arguments.parts, arguments.digest)
    opened, faults = checked.opened, checked.faults
    if arguments.json:
        values = {
            "id": opened and opened.bundle.id,
            "digest": opened and opened.digest,
            "parts": opened and opened.bundle.parts,
            "files": opened and len(opened.bundle.files),
            "bytes": opened and opened.bundle.total_bytes,
            "faults": [{"path": fault.path, "what": fault.what, "detail": fault.detail} for fault in faults],
        }
        print(json.dumps(values, ensure_ascii=False))
    else:
        for fault in faults:
            print(fault)
    if opened is None or faults:
        count = f"{len(faults)} fault{'' if len(faults) == 1 else 's'}"
        raise UserError(f"{count} found, named above; bring what is named again, and do not install before that")
    if not arguments.json:
        bundle = opened.bundle
        print(f"bundle {bundle.id}: all of {bundle.parts} parts, {len(bundle.files)} files, {bundle.total_bytes} bytes")
        print(f"digest {opened.digest}; compare it with the one that `bundle make` printed, if it came another way")


def run_install(arguments: argparse.Namespace) -> None:
    from localexplain.carry.install import install

    installed = install(arguments.parts, arguments.to, arguments.digest, report=say)
    if arguments.json:
        print(json.dumps({"id": installed.id, "state": installed.state, "missing": list(installed.missing_parts)}))
    else:
        print(installed.message)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 our fault, 2 the user's."""
    arguments = build_parser().parse_args(argv)
    try:
        (run_check if arguments.kind == "check" else run_install)(arguments)
    except UserError as error:
        say(f"localexplain: {error}")
        return 2
    except LocalexplainError as error:
        say(f"localexplain: {error}")
        return 1
    except KeyboardInterrupt:
        say("localexplain: stopped at once; run the same command again to go on from there")
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        say(f"localexplain: {error.filename or 'the target'}: {error.strerror}; mend it, then run the same again")
        return 2
    return 0
