# SPDX-License-Identifier: Apache-2.0
"""Tar as a stream: POSIX pax headers and GNU's sparse members, written and read front to back. Knows nothing of
dumps."""
