# SPDX-License-Identifier: Apache-2.0
"""What a crashed kernel's memory says, with nothing but the dump: no vmlinux, no debugger, no library.

A dump format gives a ``capture.Capture`` (physical memory and what its headers say); ``facts.read_facts`` makes of it
who crashed, why, its log, and which modules were loaded under which build ID.
"""
