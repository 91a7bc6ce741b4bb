# SPDX-License-Identifier: Apache-2.0
"""How often a link that breaks is made anew, and after how long."""

# Between two tries: 2, 4, 8, 16, 30 s.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 30.0
# A host that sends less than this each time, and breaks off, does not hold us for ever.
_PROGRESS = 1 << 20


class Tries:
    """Those that are left for one dump. What comes meanwhile earns new ones: a link that breaks every minute brings a
    large archive, too."""

    def __init__(self, most: int) -> None:
        self._most = self.left = most
        self._wait_s = _FIRST_WAIT_S
        self._came = 0
        self.made = 0

    def next(self) -> float:
        """One less; seconds to wait before it."""
        wait_s = self._wait_s
        self.left, self.made, self._wait_s = self.left - 1, self.made + 1, min(2 * wait_s, _LONGEST_WAIT_S)
        return wait_s

    def progress(self, came: int) -> None:
        """So many bytes have come."""
        if came >= self._came + _PROGRESS:
            self.left, self._wait_s, self._came = self._most, _FIRST_WAIT_S, came
