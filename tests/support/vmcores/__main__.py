# SPDX-License-Identifier: Apache-2.0
"""python3 -m tests.support.vmcores [KERNEL ...]: make the dumps of these kernels: "6.1" (if none is named),
"6.12", "6.1-arm64"."""

from __future__ import annotations

import sys

from . import VmcoresError, vmcores, why_not

if __name__ == "__main__":
    for kernel in sys.argv[1:] or ["6.1"]:
        if why_not(kernel):
            sys.exit(why_not(kernel))
        try:
            print(vmcores(kernel).folder)
        except VmcoresError as error:
            sys.exit(str(error))
