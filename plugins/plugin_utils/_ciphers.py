# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cipher an ssh of our own asks for first.

OpenSSH's first choice is ChaCha20-Poly1305, which costs both ends nearly twice what AES-GCM does where the processor
has instructions for AES, and a cipher is most of what a stream costs. So AES-GCM comes first there: among the ciphers
that ssh offers anyway, and only if neither the user nor the system has chosen any.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Linux calls it so on x86 and on ARM.
_ASK = "grep -qsw aes /proc/cpuinfo"
_LISTED = re.compile(rb"^ciphers (\S+)$", re.MULTILINE)
_WAIT_S = 10


@functools.lru_cache(maxsize=1)
def option(action, argv):
    """b"Ciphers=..." for an ssh that has the words ``argv`` (a tuple, from its name to the host), or None for what is
    configured. Asks the target once, if that can change anything."""
    offered = _offered(argv) if _has_aes() else []
    ordered = sorted(offered, key=lambda cipher: b"-gcm@" not in cipher)
    if ordered == offered or offered != _offered((argv[0], b"-F", b"/dev/null", b"localhost")):
        return None
    if action._low_level_execute_command(_ASK, sudoable=False)["rc"]:
        return None
    return b"Ciphers=" + b",".join(ordered)


def _has_aes():
    """Whether this machine's processor has instructions for AES."""
    if sys.platform == "darwin":
        return True  # each that a present macOS runs on
    try:
        return re.search(r"^(flags|Features)\b.*\baes\b", _CPUINFO.read_text(), re.MULTILINE) is not None
    except OSError:
        return False


def _offered(argv):
    """The ciphers that ssh would offer, best first; none if it cannot say."""
    try:
        done = subprocess.run(
            [argv[0], b"-G", *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=_WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    listed = _LISTED.search(done.stdout)
    return listed[1].split(b",") if listed else []
