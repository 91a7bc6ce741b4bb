# SPDX-License-Identifier: Apache-2.0
"""Callback plugin for the tests: appends each task's result to the file named in SAVEDUMP_TEST_RECORD, a line of JSON
each. What is on the screen is for people; its form changes between releases of ansible-core."""

from __future__ import annotations

import json
import os

from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: Keeps every task result for the tests
description: Appends each task's result to the file named in the environment variable SAVEDUMP_TEST_RECORD.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def _keep(self, outcome, result):
        host = getattr(result, "host", None) or result._host  # 2.19 renamed the attributes and warns of the old names
        task = getattr(result, "task", None) or result._task
        values = getattr(result, "result", None)
        values = result._result if values is None else values
        line = {"host": host.get_name(), "task": task.get_name(), "outcome": outcome, "values": values}
        path = os.environ.get("SAVEDUMP_TEST_RECORD")
        if path:
            with open(path, "a", encoding="utf-8") as record:
                record.write(json.dumps(line, default=to_text) + "\n")

    def v2_runner_on_ok(self, result):
        self._keep("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._keep("failed", result)

    def v2_runner_on_skipped(self, result):
        self._keep("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._keep("unreachable", result)
