# SPDX-License-Identifier: Apache-2.0
"""What only DWARF knows, by way of pyelftools. It is optional: a host may lack it, and then the result says so.

pyelftools 0.32 is the last for Python 3.6 to 3.9.
"""

from typing import Optional


def version() -> Optional[str]:
    """The version of pyelftools at hand, or None."""
    try:
        import elftools
    except ImportError:
        return None
    return getattr(elftools, "__version__", "unknown")


def folder() -> Optional[str]:
    """Where its package lies, which may be in a zip file; None without it."""
    try:
        import elftools
    except ImportError:
        return None
    return str(elftools.__path__[0])
