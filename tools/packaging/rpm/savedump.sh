#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# RHEL 8 and its kin always have Python 3.6 as platform-python, and python3 when somebody installs it.
for python in /usr/bin/python3 /usr/libexec/platform-python; do
    [ ! -x "$python" ] || exec "$python" /usr/share/savedump/savedump "$@"
done
echo "savedump: neither /usr/bin/python3 nor /usr/libexec/platform-python is here; install python3" >&2
exit 69
