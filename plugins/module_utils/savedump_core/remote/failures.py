# SPDX-License-Identifier: Apache-2.0
"""Why a host was not reached, or let nobody in; and paramiko, or word of how to get it."""

from typing import Any

from ..errors import SavedumpError, ToolMissing


class Unreachable(SavedumpError):
    """No connection to the host: it is down, the network is, or its name is unknown (EX_TEMPFAIL)."""

    exit_status = 75


class Refused(SavedumpError):
    """The host is there, and is not the one that is known, or does not let this user do it (EX_NOPERM)."""

    exit_status = 77


class Lost(OSError):
    """The connection broke; a new one may hold."""


def paramiko() -> Any:
    """The library. Raises ToolMissing."""
    import logging
    import warnings

    try:
        # cryptography's, about what paramiko uses of it: nothing that a user of ours can mend.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import paramiko as library
    except ImportError as error:
        raise ToolMissing(
            "collect needs paramiko, which is not here (%s)" % error, "get it with: pip install paramiko"
        ) from None
    # Else Python prints what the library logs, tracebacks among it; all that matters is raised, too.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    return library
