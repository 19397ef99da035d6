"""What the kernel counts in a network namespace, read as attempts to get out of it. Pure but for one function.

In a namespace whose only interface is loopback, with no route, these moved (Linux 6.18, one probe each, all other
counters of errors at rest):

    what was tried                                    what moved
    TCP or UDP to an address beyond, blocking or not  Ip OutNoRoutes +1; nothing is sent
    UDP `connect` alone                               Ip OutNoRoutes +1, though it would never send anything
    multicast, broadcast                              Ip OutNoRoutes +1
    the same over IPv6, link-local too                Ip6OutNoRoutes +1; IPv4 in IPv6 counts as IPv4
    a name asked of a server beyond                   Ip OutNoRoutes +2, one for each query
    a name asked of a server on loopback (127.0.0.53) Udp NoPorts +1, Icmp OutDestUnreachs +1
    TCP to a port of loopback that nobody serves      Tcp AttemptFails +1, OutRsts +1
    TCP and UDP on loopback to somebody who serves    none of these; a connection cut short: Tcp OutRsts +1
    the machine's own name where /etc/hosts has it    none
    a raw socket to an address beyond                 none: it fails before it is counted
    a virtual machine's vsock                         none: it is no part of a network namespace
    a Unix socket of a local daemon                   none: likewise

So no counter of errors moves for what stays inside, and Tcp OutRsts, which does, is not used.
"""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc/self/net")
BEYOND = ("Ip.OutNoRoutes", "Ip6OutNoRoutes")
UNANSWERED = ("Tcp.AttemptFails", "Udp.NoPorts", "Udp6NoPorts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often something was tried since the namespace was made or between two readings.

    beyond      packets for which there was no route: to another machine
    unanswered  tries of a loopback port that nobody serves: where a resolver, a proxy or an agent would listen outside
    """

    beyond: int
    unanswered: int

    def __sub__(self, earlier: "Attempts") -> "Attempts":
        return Attempts(beyond=self.beyond - earlier.beyond, unanswered=self.unanswered - earlier.unanswered)


def parse_snmp(text: str) -> dict[str, int]:
    """Name -> count from /proc/net/snmp, whose lines come in pairs: names, then values.

    >>> parse_snmp("Ip: Forwarding OutNoRoutes\\nIp: 1 7\\n")
    {'Ip.Forwarding': 1, 'Ip.OutNoRoutes': 7}
    """
    lines = text.splitlines()
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group, _, head = names.partition(":")
        numbers = values.partition(":")[2].split()
        found |= {f"{group}.{name}": int(number) for name, number in zip(head.split(), numbers, strict=True)}
    return found


def parse_snmp6(text: str) -> dict[str, int]:
    """Name -> count from /proc/net/snmp6, one a line.

    >>> parse_snmp6("Ip6InReceives   \\t4\\nIp6OutNoRoutes   \\t2\\n")
    {'Ip6InReceives': 4, 'Ip6OutNoRoutes': 2}
    """
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def count_attempts(snmp: str, snmp6: str) -> Attempts:
    """From the texts of both files; `snmp6` is "" where the kernel has no IPv6.

    Raises KeyError where the kernel does not count what is needed.
    """
    counts = parse_snmp(snmp)
    counts |= parse_snmp6(snmp6) if snmp6 else dict.fromkeys(("Ip6OutNoRoutes", "Udp6NoPorts"), 0)
    return Attempts(beyond=sum(counts[name] for name in BEYOND), unanswered=sum(counts[name] for name in UNANSWERED))


def read_attempts(folder: Path = PROC) -> Attempts:
    """Those of this process's own namespace. Raises OSError or KeyError where the kernel does not count."""
    snmp6 = folder / "snmp6"
    return count_attempts((folder / "snmp").read_text(), snmp6.read_text() if snmp6.exists() else "")
