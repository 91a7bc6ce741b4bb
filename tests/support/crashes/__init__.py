# SPDX-License-Identifier: Apache-2.0
"""Real programs that crash: built with gcc, dumped by the kernel, and looked at by gdb while all is still in place.

``crash(case, folder)`` makes one of CASES below `folder` and says what an archive of it has to show. Nothing outside of
`folder` is touched: the dump lands in the program's own working directory, kernel.core_pattern stays as it is, and
where it does not allow that, CannotCrash says why.
"""

from .cases import CASES, crash
from .kernel import CannotCrash
from .workshop import Crash

__all__ = ["CASES", "CannotCrash", "Crash", "crash"]
