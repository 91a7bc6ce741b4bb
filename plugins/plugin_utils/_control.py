# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that work on the control host: no connection, no Python to be found, no become."""

from __future__ import annotations

import os
import traceback

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.savedump.toolkit.plugins.module_utils import _adapter


class ControlAction(ActionBase):
    """Does its work in this very process."""

    SPEC: dict = {}
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        """See ActionBase.run. A failure is returned, for an exception would pass by the task's failed_when."""
        super().run(None, task_vars)
        try:
            _found, given = self.validate_argument_spec(argument_spec=self.SPEC)
            host = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", "host")
            return _adapter._plain(self.work(given, host))
        except AnsibleError as error:
            return {"failed": True, "msg": str(error)}
        except Exception as error:  # what is not said here is lost
            return unforeseen(error)

    def work(self, given, host):
        """The result, from the validated options and the name of the task's host."""
        raise NotImplementedError


def check_limits(given):
    """Raises AnsibleActionFail if the options of a transfer would let nothing move."""
    if 0 < (given["bandwidth_limit"] or 0) < 1024:
        raise AnsibleActionFail("bandwidth_limit is less than 1K: %s" % given["bandwidth_limit"])
    if given["stall_timeout"] < 1:
        raise AnsibleActionFail("stall_timeout is less than a second: %s" % given["stall_timeout"])


def unforeseen(error):
    """The result of an action in which this was raised, and is being handled."""
    words = "savedump itself failed: %s: %s" % (type(error).__name__, error)
    return {"failed": True, "msg": words, "exception": traceback.format_exc()}


def here(path):
    """A path on the control host as an absolute one."""
    return os.path.abspath(os.path.expanduser(path)) if path else ""
