# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session with the target over the connection that Ansible would use: the core goes there through a pipe, and nothing
is written to the target's disk."""

from __future__ import annotations

import contextlib

from ansible_collections.savedump.toolkit.plugins.module_utils.savedump_core.remote import boot, session
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _far_end, _receiver, _talk, _ways


@contextlib.contextmanager
def opened(action, python, stall, limit):
    """A Session with ``python`` on the target. ``stall``: seconds of silence after which it is over; ``limit``: bytes
    a second, 0 for none. Raises _talk.Refused if no way leads there, else session.Broken."""
    command = _far_end.python_command([python, "-B"], boot.COMMAND)
    ways = [way for way in _ways.ways_for(action) if way in _ways.STREAMS]
    if not ways:
        raise _talk.Refused(
            "streaming needs a connection by ssh, paramiko or local, and this one is %s" % action._connection.transport
        )
    refusal = None
    for way in ways:
        try:
            pipe = _Pipe(action, way, command, stall, _receiver.Pace(limit))
        except _talk.Refused as error:
            refusal = error
            continue
        except _talk.Broken as broken:
            raise session.Broken(str(broken), "try again") from broken
        try:
            there = session.Session(pipe.read, pipe.write)
            try:
                there.start()
            except _talk.Refused as error:
                refusal = error
                continue
            yield there
            return
        finally:
            pipe.close()
    raise refusal


class _Pipe:
    """A command's output and input as a session reads and writes them."""

    def __init__(self, action, way, command, stall, pace):
        self._pace = pace
        self._came = bytearray()
        self._talk = _ways.talk(action, way, command, self._came.extend, stall, pace.block, keeps_input=True)

    def read(self, size):
        """See session.Session. Raises _talk.Refused, or OSError when the link broke."""
        try:
            while not self._came and self._talk.listen():
                pass
        except _talk.Broken as broken:
            raise OSError(str(broken)) from broken
        data = bytes(self._came[:size])
        del self._came[:size]
        self._pace.passed(len(data))
        return data

    def write(self, data):
        """See session.Session. Raises as read()."""
        try:
            self._talk.write(data)
        except _talk.Broken as broken:
            raise OSError(str(broken)) from broken

    def close(self):
        """End the process there."""
        self._talk.close()
