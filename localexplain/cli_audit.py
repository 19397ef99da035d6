"""The commands of `localexplain audit`: whether a run is still what its audit file says."""

import argparse
from collections.abc import Callable

from localexplain.errors import UserError
from localexplain.output import print_json


def audit_verify(arguments: argparse.Namespace) -> None:
    """Raises UserError, with one line for all of it, where anything differs."""
    from dataclasses import asdict

    from localexplain.audit.checking import check_audit
    from localexplain.audit.making import read_audit

    audited = read_audit(arguments.file)
    findings = check_audit(audited, arguments.run, arguments.store)
    differing = [finding.what for finding in findings if finding.status == "DIFFERS"]
    if arguments.json:
        values = {"agrees": not differing, "ended": audited["ended"], "findings": [asdict(item) for item in findings]}
        print_json(values)
    else:
        print(f"written {audited['ended_at']}; the run {audited['ended']}")
        for finding in findings:
            print(f"{finding.status:9}  {finding.what}{f': {finding.detail}' if finding.detail else ''}")
    if differing:
        raise UserError(
            f"{arguments.run}: not what {arguments.file} says, {len(differing)} of {len(findings)} things differ: "
            f"{', '.join(differing)}"
        )


AUDIT_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {"verify": audit_verify}
