"""The kernel's counters, from texts in its own layout."""

from pathlib import Path

import pytest

from localexplain.silence.counters import Attempts, count_attempts, parse_snmp, parse_snmp6, read_attempts

SNMP = """\
Ip: Forwarding DefaultTTL InReceives OutNoRoutes
Ip: 2 64 100 {no_routes}
Icmp: InMsgs OutDestUnreachs
Icmp: 3 2
Tcp: RtoAlgorithm MaxConn AttemptFails EstabResets OutRsts
Tcp: 1 -1 {fails} 4 9
Udp: InDatagrams NoPorts
Udp: 5 {no_ports}
"""
SNMP6 = (
    "Ip6InReceives                   \t12\nIp6OutNoRoutes                  \t{no_routes}\nUdp6NoPorts \t{no_ports}\n"
)


def test_every_way_out_is_counted_and_nothing_else() -> None:
    """Routes: 3 over IPv4 and 20 over IPv6; unserved ports: 100 TCP, 4000 UDP, 50000 UDP over IPv6. A connection cut
    short (OutRsts 9, EstabResets 4) is no attempt."""
    found = count_attempts(
        SNMP.format(no_routes=3, fails=100, no_ports=4000), SNMP6.format(no_routes=20, no_ports=50000)
    )
    assert found == Attempts(beyond=23, unanswered=54100)
    assert found - Attempts(beyond=20, unanswered=4100) == Attempts(beyond=3, unanswered=50000)


def test_values_belong_to_the_names_of_their_own_line() -> None:
    found = parse_snmp(SNMP.format(no_routes=1, fails=2, no_ports=3))
    assert found["Tcp.MaxConn"] == -1
    assert found["Ip.OutNoRoutes"] == 1
    assert parse_snmp6(SNMP6.format(no_routes=8, no_ports=9))["Ip6OutNoRoutes"] == 8


def test_a_kernel_without_ipv6_counts_the_rest() -> None:
    assert count_attempts(SNMP.format(no_routes=3, fails=0, no_ports=1), "") == Attempts(beyond=3, unanswered=1)


def test_a_kernel_that_does_not_count_is_no_silent_one(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        count_attempts("Ip: Forwarding\nIp: 1\n", "")
    with pytest.raises(FileNotFoundError):
        read_attempts(tmp_path)
