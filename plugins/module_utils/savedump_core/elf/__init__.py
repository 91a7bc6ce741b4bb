# SPDX-License-Identifier: Apache-2.0
"""ELF bytes to values: headers, notes, a core's memory, the images in it, and ELF files on disk.

Everything here reads through ``read_at(offset, n)``, which gives at most n bytes and fewer only where there are no
more. All input is hostile: every count and length is held against a cap or against the bytes that are there.
"""
