# SPDX-License-Identifier: Apache-2.0
"""Let a program die and take the dump that the kernel leaves."""

import os
import resource
import subprocess

PATTERN = "/proc/sys/kernel/core_pattern"


class CannotCrash(Exception):
    """No crash to be had here; the message says why, and is fit for a skip."""


def check_pattern():
    """Raise CannotCrash unless a dump lands in the dead program's working directory. The pattern is the whole
    machine's: a test never changes it."""
    try:
        with open(PATTERN, "rb") as stream:
            pattern = stream.read().strip()
    except OSError as error:
        raise CannotCrash("%s cannot be read: %s" % (PATTERN, error)) from error
    if pattern[:1] in (b"|", b"@") or b"/" in pattern or not pattern:
        raise CannotCrash("kernel.core_pattern is %r: dumps do not land in the program's directory" % pattern.decode())


def dump_of(argv, cwd, env=None, executable=None, limit=resource.RLIM_INFINITY, while_waiting=None):
    """Run `argv` in `cwd` until SIGABRT ends it; the path of the dump it left there.

    The file may have any name (core_uses_pid, "core.%e.%p"), so it is what is new in `cwd`. `limit` is RLIMIT_CORE in
    bytes. With `while_waiting`, the program is built to write a byte when it is ready and to die when it reads one;
    `while_waiting()` is called in between.
    """
    check_pattern()
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard != resource.RLIM_INFINITY and os.geteuid() != 0:
        raise CannotCrash("the hard limit on dumps is %d bytes" % hard)

    def allow_dumps():
        resource.setrlimit(resource.RLIMIT_CORE, (limit, resource.RLIM_INFINITY))

    before = set(os.listdir(cwd))
    words = dict(os.environ, LC_ALL="C.UTF-8", **(env or {}))
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH"):
        if name not in (env or {}):
            words.pop(name, None)
    with subprocess.Popen(
        argv, cwd=cwd, env=words, executable=executable, preexec_fn=allow_dumps,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        if while_waiting is not None:
            process.stdout.read(1)
            while_waiting()
        out, err = process.communicate(b"x", timeout=120)
    new = sorted(set(os.listdir(cwd)) - before)
    if process.returncode != -6 or len(new) != 1:
        raise CannotCrash(
            "%r ended with %s and left %r; %s" % (argv, process.returncode, new, (out + err).decode("utf-8", "replace"))
        )
    return os.path.join(cwd, new[0])
