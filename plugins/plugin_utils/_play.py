# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's steps registered for the hosts of a play. No I/O."""

from __future__ import annotations


def known(task_vars, hosts):
    """The variables of each of these hosts, by name; empty for one that has none."""
    hostvars = (task_vars or {}).get("hostvars", {})
    return {host: hostvars[host] if host in hostvars else {} for host in hosts}


def result(variables, *steps):
    """The registered result of the first of these steps that was taken on a host, or {}."""
    for step in steps:
        registered = variables.get("__collect_" + step)
        if registered and not registered.get("skipped"):
            return registered
    return {}


def to_come(variables):
    """Whether a host that is in a later batch of the play has not had its turn."""
    return not any(variables.get("__collect_" + step) for step in ("found", "archived", "verified"))


def paths_here(variables):
    """Every archive of this host that came, or was found to be here, in this run."""
    fetched = [each["path"] for each in result(variables, "fetched").get("results", ()) if "sha256" in each]
    archived = result(variables, "archived").get("archives", ())
    streamed = [each["path"] for each in archived if "wire_bytes" in each and each["sha256"]]
    homes = result(variables, "completed", "known").get("archives", ())
    return fetched + streamed + [each["path"] for each in homes]
