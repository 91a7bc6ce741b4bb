# SPDX-License-Identifier: Apache-2.0
"""The wires: one /24 per fleet, a bridge inside the switch's network namespace, one veth pair per host."""

from __future__ import annotations

import ipaddress
import json
import random
import time
from collections.abc import Iterator

from .base import FleetError, call

#: 198.18.0.0/15 is set aside for tests of network equipment (RFC 2544), so no site routes it; 10.64.0.0/10 serves where
#: a VPN client has taken that. One /24 of these is a fleet's network and, in its link's name, the fleet's identity.
_RANGES = ("198.18.0.0/15", "10.64.0.0/10")
_PREFIX = "sdf-"
_ALIAS = "savedump test fleet "
#: The bridge and the far end of the machine's link; both names exist only in the switch's namespace.
BRIDGE, UPLINK = "switch", "uplink"


def connect_machine(switch_pid: int, directory: str) -> tuple[str, ipaddress.IPv4Network]:
    """Make the machine's link into the switch on a network that nothing here routes; returns (link name, network).

    Creating a link fails when its name exists, so two fleets that start together cannot take the same network.
    """
    for network in _candidates():
        link = _PREFIX + "-".join(str(network.network_address).split(".")[:3])
        try:
            call("ip", "link", "add", link, "type", "veth", "peer", "name", UPLINK, "netns", str(switch_pid))
        except FleetError as error:
            if "File exists" in str(error):
                continue
            raise
        call("ip", "link", "set", link, "alias", f"{_ALIAS}{switch_pid} {directory}")
        in_switch(switch_pid, "ip", "link", "set", UPLINK, "master", BRIDGE, "up")
        call("ip", "address", "add", f"{network[1]}/24", "dev", link)
        call("ip", "link", "set", link, "up")
        return link, network
    raise FleetError(f"every test network in {' and '.join(_RANGES)} is routed on this machine")


def connect_host(switch_pid: int, host_pid: int, port: str, address: str, gateway: str) -> None:
    """Plug a host in: `port` on the switch, eth0 with `address` in the host, default route to the machine."""
    in_switch(switch_pid, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host_pid))
    in_switch(switch_pid, "ip", "link", "set", port, "master", BRIDGE, "up")
    script = f"link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {gateway}\n"
    call("nsenter", "--target", str(host_pid), "--net", "ip", "-batch", "-", input=script)


def disconnect_machine(link: str) -> None:
    """Remove the machine's link, if it is still there, and wait until the kernel has."""
    for _ in range(100):
        if link not in links():
            return
        try:
            call("ip", "link", "delete", link)
        except FleetError:  # gone between the two calls: a dying namespace takes its links along, a little later
            time.sleep(0.05)
    raise FleetError(f"the link {link} cannot be removed")


def links() -> dict[str, tuple[int, str]]:
    """The machine's ends of all fleets: link name to (pid of the switch, folder), from the links' aliases."""
    found = {}
    for link in json.loads(call("ip", "-json", "link", "show") or "[]"):
        alias = link.get("ifalias", "")
        if link["ifname"].startswith(_PREFIX):
            pid, _, directory = alias[len(_ALIAS) :].partition(" ") if alias.startswith(_ALIAS) else ("0", "", "")
            found[link["ifname"]] = (int(pid), directory)
    return found


def in_switch(switch_pid: int, *argv: str) -> str:
    """Run a program of the machine in the switch's network namespace."""
    return call("nsenter", "--target", str(switch_pid), "--net", *argv)


def counters(switch_pid: int, port: str) -> tuple[int, int]:
    """Bytes that (left the host, came to the host) through its port since the fleet came up."""
    stats = json.loads(in_switch(switch_pid, "ip", "-json", "-statistics", "link", "show", port))[0]["stats64"]
    return stats["rx"]["bytes"], stats["tx"]["bytes"]


def shape(pid: int, device: str, rate: str) -> None:
    """Limit what `device`, in the network namespace of `pid`, sends to `rate` ("8mbit"), queueing up to one second."""
    unshape(pid, device)
    call(
        "nsenter",
        "--target",
        str(pid),
        "--net",
        "tc",
        "qdisc",
        "add",
        "dev",
        device,
        "root",
        "tbf",
        "rate",
        rate,
        "burst",
        "64kb",
        "latency",
        "1s",
    )


def unshape(pid: int, device: str) -> None:
    """Lift `shape`, if it was set."""
    shown = call("nsenter", "--target", str(pid), "--net", "tc", "qdisc", "show", "dev", device)
    if "qdisc tbf" in shown:
        call("nsenter", "--target", str(pid), "--net", "tc", "qdisc", "delete", "dev", device, "root")


def _candidates() -> Iterator[ipaddress.IPv4Network]:
    routes = json.loads(call("ip", "-json", "-4", "route", "show", "table", "all") or "[]")
    taken = [ipaddress.ip_network(route["dst"]) for route in routes if route["dst"] != "default"]
    for block in _RANGES:
        networks = list(ipaddress.ip_network(block).subnets(new_prefix=24))
        random.shuffle(networks)
        yield from (network for network in networks if not any(network.overlaps(other) for other in taken))
