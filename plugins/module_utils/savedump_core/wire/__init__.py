# SPDX-License-Identifier: Apache-2.0
"""What passes between the host with the dumps and the control host while an archive is streamed: frames on a pipe, and
in them tars whose files may be references. Knows nothing of dumps, nor of ssh."""
