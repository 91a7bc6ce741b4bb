#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make tests/data/cores anew: real cores of foreign machines, written by real kernels of those machines.

    sudo tests/support/foreign/make_cores.py WORKDIR [BOOT ...]

WORKDIR gets a Debian root (debootstrap) that holds the cross compilers, the emulators and the kernels; nothing else on
this host is touched. Each kernel boots in qemu-system-* (plain emulation) with an initramfs of our own: `guest/init.c`
runs `guest/crash.c` and `guest/tiny.c`, the kernel writes the cores, and cores and truth come back over the console.

The truth beside each core is never read from the core: it is what the program and the guest's /proc said, and what
readelf says of the files that the program had mapped. README.md has the list of what was booted.
"""
import argparse
import base64
import io
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from typing import Any, Dict, List, Tuple

from root import Root
from targets import BOOTS, TARGETS, USER_MODE, Boot

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "..", "data", "cores")


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def build(root: Root, name: str) -> str:
    """Compile the guest programs for a target; the directory in the root."""
    target = TARGETS[name]
    where = "/build/targets/" + name
    os.makedirs(root.path + where, exist_ok=True)
    for source in os.listdir(os.path.join(HERE, "guest")):
        shutil.copy(os.path.join(HERE, "guest", source), root.path + where)
    flags = ("%s -O1 -Wall -fno-stack-protector -Wl,-z,max-page-size=%d -Wl,-z,noseparate-code -Wl,--build-id=sha1 -s"
             % (target.flags, target.page))
    compiler = target.triple + "-gcc"
    if target.dynamic:
        root.run("{0} {1} {2} -o crash crash.c; {0} {1} -fPIC -shared -o plug.so plug.c; "
                 "{0} {1} -fPIC -shared -nostdlib -o alone.so alone.c".format(
                     compiler, flags, "-fPIE -pie" if target.pie else "-fno-pie -no-pie"), directory=where)
    root.run("{0} {1} -ffreestanding -fno-pie -no-pie -static -nostdlib -o tiny tiny.c".format(compiler, flags),
             directory=where)
    return where


def libraries(root: Root, name: str) -> Tuple[str, List[str]]:
    """(interpreter's path, the files in the root to be put into the multiarch directory)."""
    target = TARGETS[name]
    shown = root.run("readelf -Wl /build/targets/%s/crash" % name, output=True)
    interpreter = re.search(r"interpreter: ([^\]]+)\]", shown).group(1)
    libc = root.run("%s-gcc -print-file-name=libc.so.6" % target.triple, output=True).strip()
    # Beside libc, or in lib64 where Debian's own cross package of a 64-bit-only ABI puts it.
    beside = [os.path.join(os.path.dirname(libc), up, os.path.basename(interpreter)) for up in (".", "../lib64")]
    return interpreter, [libc, next(path for path in beside if os.path.exists(root.path + path))]


def initramfs(root: Root, boot_name: str) -> str:
    """Build a boot's initramfs; its path in the root. Usr-merged, as every current distribution is."""
    boot = BOOTS[boot_name]
    top = root.path + "/build/boots/" + boot_name
    shutil.rmtree(top, ignore_errors=True)
    for folder in ("dev", "proc", "out", "usr/lib", "usr/lib64", "usr/libx32", "opt", "etc"):
        os.makedirs(os.path.join(top, folder))
    for folder in ("lib", "lib64", "libx32"):
        os.symlink("usr/" + folder, os.path.join(top, folder))
    cases = []
    for name in boot.targets:
        target = TARGETS[name]
        made = build(root, name)
        app = os.path.join(top, "opt", name)
        os.makedirs(app)
        files = ["tiny"]
        cases.append("tiny-%s 0x10 /opt/%s ./tiny" % (name, name))
        if target.dynamic:
            files += ["crash", "plug.so", "alone.so"]
            cases.append("crash-%s 0x33 /opt/%s ./crash" % (name, name))
            interpreter, needed = libraries(root, name)
            folder = os.path.join(top, "usr/lib", target.multiarch)
            os.makedirs(folder)
            for path in needed:
                shutil.copy(root.host(path), os.path.join(folder, os.path.basename(path)))
            link = os.path.join(top, "usr" + interpreter)
            loader = os.path.join(folder, os.path.basename(interpreter))
            os.symlink(os.path.relpath(loader, os.path.dirname(link)), link)
        for file in files:
            shutil.copy(os.path.join(root.path + made, file), app)
    with open(os.path.join(top, "cases"), "w") as out:
        out.write("\n".join(cases) + "\n")
    made = build(root, boot.init)
    root.run("%s-gcc -O1 -s -static -o /build/boots/%s/init init.c" % (TARGETS[boot.init].triple, boot_name),
             directory=made)
    root.run("find . | cpio -o -H newc --quiet | gzip -6 > ../%s.cpio.gz" % boot_name,
             directory="/build/boots/" + boot_name)
    return "/build/boots/%s.cpio.gz" % boot_name


def console(root: Root, boot_name: str, kernel: str, initrd: str) -> str:
    """Boot, and return all that the console said."""
    boot = BOOTS[boot_name]
    root.run("timeout 1800 %s -m 1G -accel tcg -nographic -no-reboot -nic none -kernel %s -initrd %s -append '%s quiet "
             "loglevel=0 panic=-1 rdinit=/init' < /dev/null > /build/boots/%s.console" % (
                 boot.qemu, kernel, initrd, boot.command_line, boot_name))
    with open("%s/build/boots/%s.console" % (root.path, boot_name), encoding="latin-1") as text:
        return text.read().replace("\r", "")


def files_in(text: str) -> Dict[str, bytes]:
    """The files that init.c sent: name to bytes, checked by size and CRC."""
    found = {}
    for name, size, body, end, crc in re.findall(r"@@BEGIN (\S+) (\d+)\n(.*?)@@END (\S+) ([0-9a-f]{8})", text, re.S):
        raw = b"".join(bytes(57) if line == "0" else base64.b64decode(line) for line in body.split("\n") if line)
        if end != name or len(raw) != int(size) or zlib.crc32(raw) != int(crc, 16):
            raise SystemExit("%s came over the console damaged" % name)
        found[name] = raw
    return found


def build_id(root: Root, path: str) -> str:
    """The build ID that readelf prints of a file in the root's guest tree."""
    shown = subprocess.run(["readelf", "-nW", path], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return re.search(rb"Build ID: ([0-9a-f]+)", shown.stdout).group(1).decode()


def truth_of(root: Root, boot_name: str, name: str, said: str) -> Dict[str, Any]:
    """The JSON document of what is true of one core. `said` is what the program or init wrote down."""
    target = TARGETS[name]
    tree = os.path.join(root.path, "build/boots", boot_name)
    lines: Dict[str, List[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        lines.setdefault(key, []).append(value)
    header = subprocess.run(["readelf", "-h", os.path.join(tree, "opt", name, "tiny")], check=True,
                            stdout=subprocess.PIPE).stdout.decode()
    bits = 64 if "ELF64" in header else 32
    endian = "little" if "little endian" in header else "big"
    auxv: List[List[Any]] = [[int(pair.split()[0]), pair.split()[1]] for pair in lines.get("auxv", [])]
    if "auxv_bytes" in lines:
        raw = bytes.fromhex(lines["auxv_bytes"][0])
        form = ("<" if endian == "little" else ">") + ("QQ" if bits == 64 else "II")
        whole = len(raw) // struct.calcsize(form) * struct.calcsize(form)
        auxv = [[tag, hex(value)] for tag, value in struct.iter_unpack(form, raw[:whole])]
    mappings: List[Dict[str, Any]] = []
    for row in lines["maps"]:
        matched = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ (\d+) *(.*)", row)
        start, end, mode, offset, inode, path = matched.groups()
        if inode != "0":
            mappings.append({"start": "0x" + start, "end": "0x" + end, "mode": mode, "offset": int(offset, 16),
                             "path": path})
    paths = sorted({row["path"] for row in mappings})
    number, code, address = lines["fault"][0].split()
    document = {
        "abi": name, "machine": target.machine, "bits": bits, "endian": endian, "os": "linux",
        "made_by": "kernel", "kernel": lines["uname"][0],
        "pid": int(lines["pid"][0]), "crashing_tid": int(lines["crashing_tid"][0]),
        "threads": 1 if "auxv_bytes" in lines else 2,
        "uid": int(lines["uid"][0]), "gid": int(lines["gid"][0]), "comm": lines["comm"][0],
        "arguments": lines["argument"], "execfn": lines["execfn"][0],
        "signal": {"number": int(number), "code": int(code), "address": hex(int(address, 16))},
        "auxv": auxv, "mappings": mappings,
        "files": [{"path": path, "build_id": build_id(root, tree + path), "size": os.path.getsize(tree + path),
                   "start": min((row["start"] for row in mappings if row["path"] == path), key=lambda at: int(at, 16))}
                  for path in paths],
    }
    if "object" in lines:
        document["link_map"] = [dict(zip(("address", "name"), row.split(" ", 1))) for row in lines["object"]]
        document["namespaces"] = [dict(zip(("address", "name"), row.split(" ", 1))) for row in lines["namespace"]]
        document["crashed_in"] = dict(zip(("address", "function", "object"), lines["crashes_in"][0].split()))
    died, dumped = int(lines["died_of"][0]), lines["dumped"][0]
    if died != int(number) or dumped != "1":
        raise SystemExit("%s died of signal %d and dumped %s" % (name, died, dumped))
    return document


def stem_of(boot: Boot, name: str) -> str:
    """The core's name in tests/data/cores: the ABI; with "-compat" if a 64-bit kernel wrote it, where there is a
    kernel of the ABI's own too. Those are two pieces of kernel code (fs/binfmt_elf.c, fs/compat_binfmt_elf.c)."""
    own = any(other.init == name for other in BOOTS.values())
    return name + "-compat" if own and boot.init != name else name


def keep(root: Root, boot_name: str, name: str, sent: Dict[str, bytes]) -> None:
    """Write the cores of one ABI, their truth, and the programs themselves."""
    boot = BOOTS[boot_name]
    for kind in ("tiny", "crash"):
        core = sent.get("%s-%s.core" % (kind, name))
        if core is None:
            if kind == "tiny" or TARGETS[name].dynamic:
                raise SystemExit("no %s core of %s" % (kind, name))
            continue
        stem = "%s-%s" % (stem_of(boot, name), kind)
        truth = truth_of(root, boot_name, name, sent["%s-%s.truth" % (kind, name)].decode())
        truth["core_size"] = len(core)
        file = stem + ".core.xz"
        data = lzma.compress(core, preset=9 | lzma.PRESET_EXTREME)
        truth["core"] = file
        with open(os.path.join(DATA, file), "wb") as out:
            out.write(data)
        with open(os.path.join(DATA, stem + ".json"), "w") as out:
            out.write(json.dumps(truth, indent=1) + "\n")
        say("%s: %d bytes, stored as %d" % (stem, len(core), len(data)))
    programs = io.BytesIO()
    with tarfile.open(fileobj=programs, mode="w") as tar:
        for file in sorted(os.listdir(root.path + "/build/boots/%s/opt/%s" % (boot_name, name))):
            info = tarfile.TarInfo("opt/%s/%s" % (name, file))
            with open(root.path + "/build/boots/%s/opt/%s/%s" % (boot_name, name, file), "rb") as content:
                data = content.read()
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    with open(os.path.join(DATA, "%s-programs.tar.xz" % stem_of(boot, name)), "wb") as out:
        out.write(lzma.compress(programs.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def user_mode(root: Root, name: str) -> None:
    """Have qemu-user write the core of one ABI's tiny program."""
    where = "/build/user/" + name
    shutil.rmtree(root.path + where, ignore_errors=True)
    os.makedirs(root.path + where)
    os.chmod(root.path + where, 0o777)
    shutil.copy(root.path + build(root, name) + "/tiny", root.path + where)
    emulator = USER_MODE[name]
    version = root.run(emulator + " --version | head -1", output=True).strip()
    # The emulator dies of the same signal and would leave its own core, named as the host's core_pattern says.
    command = "cd %s; ulimit -c unlimited; echo $$ > pid; exec %s ./tiny one 'two words'" % (where, emulator)
    subprocess.run(["chroot", "--userspec=1234:5678", "--groups=", root.path, "sh", "-c", command], check=False)
    found = [file for file in os.listdir(root.path + where) if file.startswith("qemu_tiny_")]
    with open(os.path.join(root.path + where, found[0]), "rb") as out:
        core = out.read()
    with open(root.path + where + "/pid") as out:
        pid = int(out.read())
    shutil.rmtree(root.path + where)
    truth: Dict[str, Any] = {
        "abi": name, "machine": TARGETS[name].machine, "bits": 64 if name == "aarch64_be" else 32,
        "endian": "big", "os": "linux", "made_by": "qemu-user", "emulator": version, "pid": pid, "threads": 1,
        # qemu-user 10.0 writes uid 1234 as 04 d2 00 00 there, swapped in 16 bits only: no truth to be had.
        "uid": None if name == "aarch64_be" else 1234, "gid": None if name == "aarch64_be" else 5678,
        "comm": "tiny", "arguments": ["./tiny", "one", "two words"], "execfn": "./tiny", "signal": {"number": 11},
        "files": [], "core_size": len(core), "core": name + "-qemu.core.xz",
    }  # fmt: skip
    with open(os.path.join(DATA, truth["core"]), "wb") as out:
        out.write(lzma.compress(core, preset=9 | lzma.PRESET_EXTREME))
    with open(os.path.join(DATA, name + "-qemu.json"), "w") as out:
        out.write(json.dumps(truth, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir")
    parser.add_argument("--keep-root", action="store_true", help="WORKDIR's root is there and good: install nothing")
    everything = list(BOOTS) + list(USER_MODE)
    parser.add_argument("boots", nargs="*", metavar="BOOT", help="default: all of " + " ".join(everything))
    arguments = parser.parse_args()
    root = Root(os.path.abspath(os.path.join(arguments.workdir, "root")))
    if not arguments.keep_root:
        root.make()
    os.makedirs(DATA, exist_ok=True)
    for boot_name in arguments.boots or everything:
        say("== " + boot_name)
        if boot_name in USER_MODE:
            user_mode(root, boot_name)
            continue
        text = console(root, boot_name, root.kernel(boot_name), initramfs(root, boot_name))
        sent = files_in(text)
        for name in BOOTS[boot_name].targets:
            keep(root, boot_name, name, sent)


if __name__ == "__main__":
    main()
