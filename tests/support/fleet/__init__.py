# SPDX-License-Identifier: Apache-2.0
"""A fleet of small hosts on this machine: own network, own file tree, own sshd, real crashes.

One *switch* process owns a network namespace with a bridge and a mount namespace with a tmpfs; each host is a set of
namespaces (network, mount, pid, uts, ipc) inside it, with an overlay as its root. Nothing is mounted, named or
configured in the machine's own namespaces except one network link, whose other end is in the switch. So the kernel
removes the whole fleet when the switch dies, and the switch dies when the process that made the fleet does.

As a library::

    with Fleet(directory, default_hosts(3)) as fleet:
        fleet.hosts["host1"].crash()

From the command line: ``python3 -m tests.support.fleet up --hosts 3 --dir DIR`` and ``… down --dir DIR``.
Needs root, Linux with overlayfs, and the Debian packages named in `base.PACKAGE_OF`.
"""

from .base import FleetError
from .crash import Crash, frames
from .fleet import Fleet, down, fleets
from .host import Host, HostSpec, default_hosts

__all__ = ["Crash", "Fleet", "FleetError", "Host", "HostSpec", "default_hosts", "down", "fleets", "frames"]
