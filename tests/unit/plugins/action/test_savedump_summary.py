# SPDX-License-Identifier: Apache-2.0
"""What the summary takes from the hosts' registered results."""

import pytest
from ansible_collections.savedump.toolkit.plugins.action import savedump_summary


def brought(*items):
    return {"__collect_brought": {"results": [{"item": item, "sha256": "ab" * 32} for item in items]}}


@pytest.mark.parametrize("lie", [["a"], {"a": 1}, None, 5], ids=repr)
def test_a_name_that_is_none_costs_nobody_the_summary(lie):
    steps = {"liar": brought({"name": lie}, {}), "web1": brought({"name": "m/libc.so.6"}), "web2": {}}
    assert savedump_summary.ActionModule._senders(steps) == {"m/libc.so.6": "web1"}


def test_what_did_not_come_has_no_sender():
    steps = {"web1": {"__collect_brought": {"results": [{"item": {"name": "m/libc.so.6"}, "msg": "stalled"}]}}}
    assert savedump_summary.ActionModule._senders(steps) == {}
