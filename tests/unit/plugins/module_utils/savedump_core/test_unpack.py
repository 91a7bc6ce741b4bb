# SPDX-License-Identifier: Apache-2.0
"""Archives proven and unpacked: sound ones, damaged ones and hostile ones."""

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import subprocess
import sys
import zlib

import pytest

from savedump_core import check, compression, unpack
from savedump_core.errors import BadDump, CannotWrite, SavedumpError
from savedump_core.tarstream.sparse import Digest
from savedump_core.tarstream.writer import TarWriter
from support import elfwriter
from support.archives import BUILD_ID, ELF, NOISE, TOP, Archive, sha, usual


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def problems(path):
    """What verify() finds; unpack() must refuse the same archive and leave nothing."""
    verified = unpack.verify(path)
    assert verified.intact == (not verified.problems)
    if verified.problems:
        folder = os.path.join(os.path.dirname(path), "refused")
        os.makedirs(folder, exist_ok=True)
        with pytest.raises(BadDump, match="was not unpacked"):
            unpack.unpack(path, folder)
        assert os.listdir(folder) == []
    return list(verified.problems)


def encoders():
    def writer(codec):
        def encode(data):
            sink = io.BytesIO()
            stream = codec.writer(sink)
            stream.write(data)
            stream.close()
            return sink.getvalue()

        return encode

    return {
        "tar": lambda data: data, "gzip": writer(compression.gzip), "zstd": writer(compression.zstd),
        "xz": lzma.compress, "bzip2": bz2.compress,
    }  # fmt: skip


encoded = pytest.mark.parametrize("encode", encoders().values(), ids=list(encoders()))


def decoded(content):
    """What gzip makes of it; nothing that equals anything else if it makes nothing."""
    try:
        return gzip.decompress(bytes(content))
    except (OSError, EOFError, zlib.error):
        return object()


some_encoded = pytest.mark.parametrize("encode", list(encoders().values())[:3], ids=list(encoders())[:3])


@encoded
def test_a_sound_archive(encode, tmp_path, into):
    path = tmp_path / "sound"
    content = encode(usual().to_bytes())
    path.write_bytes(content)
    verified = unpack.verify(str(path))
    assert verified.problems == () and verified.intact and verified.complete
    assert (verified.sha256, verified.size, verified.path) == (sha(content), len(content), str(path))
    assert unpack.is_archive(str(path))
    assert unpack.read_manifest(str(path)) == verified.manifest
    assert json.loads(json.dumps(verified.as_json()))["problems"] == []

    opened = unpack.unpack(str(path), str(into))
    assert opened.path == str(into / TOP) and opened.manifest == verified.manifest
    assert os.listdir(str(into)) == [TOP]
    top = into / TOP
    assert (top / "usr/lib/libx.so").read_bytes() == ELF
    assert (top / os.fsdecode(b"usr/lib/caf\xc3\xa9\nnew \\line")).read_bytes() == NOISE
    assert os.readlink(str(top / "lib")) == "usr/lib"
    core = (top / "core.1").read_bytes()
    assert len(core) == 5 << 20 and core[4096:12288] == NOISE[:8192] and core.count(b"\0") > 4 << 20
    assert os.stat(str(top / "core.1")).st_blocks * 512 < 1 << 20
    modes = {path: stat.S_IMODE(os.stat(str(top / path)).st_mode) for path in ("", "run-gdb.sh", "core.1")}
    assert modes == {"": 0o700, "run-gdb.sh": 0o700, "core.1": 0o600}
    checked = subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=str(top))
    assert checked.returncode == 0


def test_the_manifest_is_read_without_the_rest(tmp_path):
    archive = usual()
    archive.manifest["complete"] = False
    path = tmp_path / "a.tar"
    path.write_bytes(archive.to_bytes()[:4096])
    assert unpack.read_manifest(str(path))["complete"] is False
    assert not unpack.verify(str(path)).complete


def test_gaps_are_no_damage(tmp_path):
    archive = usual()
    archive.manifest["complete"] = False
    verified = unpack.verify(archive.write(tmp_path))
    assert verified.intact and not verified.complete


def test_repacked_by_tar(tmp_path, into):
    """Folders become members of their own, and GNU tar has its own sparse format."""
    unpack.unpack(usual().write(tmp_path), str(into))
    order = [TOP + "/" + name for name in ("manifest.json", "run-gdb.sh", "usr", "lib", "core.1", "SHA256SUMS")]
    for name, options in (("gnu", ["-S", "--format=gnu"]), ("pax", ["-S", "--format=posix"]), ("dense", [])):
        path = str(tmp_path / name)
        subprocess.run(["tar", "-cf", path] + options + order, cwd=str(into), check=True)
        assert problems(path) == [], name


def test_a_core_of_terabytes(tmp_path, into):
    archive = Archive()
    archive.core(1 << 42, [(0, 4096), (1 << 41, 4096)], NOISE[:8192])
    path = archive.write(tmp_path)
    assert b"# sha256-stored " in archive.to_bytes()
    assert problems(path) == []
    unpack.unpack(path, str(into))
    assert os.path.getsize(str(into / TOP / "core.1")) == 1 << 42
    broken = bytearray(archive.to_bytes())
    broken[broken.index(NOISE[100:200])] ^= 1
    (tmp_path / "broken").write_bytes(broken)
    assert len(problems(str(tmp_path / "broken"))) == 1


@pytest.mark.parametrize("content", [b"", b"hello", bytes(10240), NOISE, ELF, b"\x1f\x8b\x08" + NOISE], ids=len)
def test_no_archive_at_all(content, tmp_path, into):
    path = str(tmp_path / "x")
    with open(path, "wb") as file:
        file.write(content)
    assert unpack.is_archive(path) is False
    for verb in (unpack.read_manifest, unpack.verify, lambda path: unpack.unpack(path, str(into))):
        with pytest.raises(BadDump, match="no archive of savedump"):
            verb(path)
    assert os.listdir(str(into)) == []


def test_neither_files_nor_there(tmp_path):
    os.mkfifo(str(tmp_path / "fifo"))
    for path in ("fifo", "."):
        with pytest.raises(BadDump):
            unpack.verify(str(tmp_path / path))
        assert unpack.is_archive(str(tmp_path / path)) is False
    with pytest.raises(FileNotFoundError):
        unpack.verify(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"{", "damaged"), (b"\xff", "damaged"), (b"[" * 100000, "damaged"), (b"[]", "schema null"),
        (b"{}", "schema null"), (b'{"schema": "savedump.manifest/2"}', "savedump.manifest/2"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read(content, message, tmp_path):
    archive = Archive()
    archive.manifest_bytes = content
    with pytest.raises(BadDump, match=message):
        unpack.verify(archive.write(tmp_path))


@pytest.mark.parametrize("top", ["x", ".ssh", "..", ".archive-x", "", "/archive-x", "../archive-x", "-archive"])
def test_a_top_folder_that_is_none_of_ours(top, tmp_path, into):
    sink = io.BytesIO()
    tar = TarWriter(sink, 0)
    tar.add_bytes(top + "/manifest.json", json.dumps(Archive().manifest).encode(), 0o600)
    tar.close()
    path = tmp_path / "x.tar"
    path.write_bytes(sink.getvalue())
    with pytest.raises(BadDump, match="no archive of savedump"):
        unpack.unpack(str(path), str(into))
    assert os.listdir(str(into)) == []


def test_kernel_archives_have_the_host_in_front(tmp_path, into):
    top = "node-1.example.archive-vmcore"
    assert unpack.unpack(usual(top).write(tmp_path), str(into)).path == str(into / top)


class TestDamage:
    def test_wrong_content(self, tmp_path):
        archive = usual()
        archive.file("data", b"right")
        content = archive.to_bytes().replace(b"right", b"wrong")
        (tmp_path / "x").write_bytes(content)
        found = problems(str(tmp_path / "x"))
        assert found == ["data is damaged: its SHA-256 is %s, manifest.json says %s" % (sha(b"wrong"), sha(b"right"))]

    def test_wrong_sums(self, tmp_path):
        archive = usual()
        archive.file("data", b"right", sum_of=b"other")
        assert problems(archive.write(tmp_path)) == [
            "data is damaged: its SHA-256 is %s, SHA256SUMS says %s" % (sha(b"right"), sha(b"other"))
        ]

    def test_manifest_changed_afterwards(self, tmp_path):
        content = usual().to_bytes().replace(b'"identity": "0', b'"identity": "1')
        (tmp_path / "x").write_bytes(content)
        assert [text[:13] for text in problems(str(tmp_path / "x"))] == ["manifest.json"]

    def test_every_problem_is_told(self, tmp_path):
        archive = usual()
        archive.file("a", b"1", sum_of=b"2")
        archive.file("b", b"1", sum_of=b"2")
        archive.list("c")
        archive.members.append(lambda tar: tar.add_bytes(TOP + "/d", b"", 0o600))
        assert len(problems(archive.write(tmp_path))) == 4

    def test_missing_member(self, tmp_path):
        archive = usual()
        archive.list("gone", 5)
        assert problems(archive.write(tmp_path)) == ["gone is in manifest.json, and missing or unusable here"]

    def test_unlisted_member(self, tmp_path):
        archive = usual()
        archive.file("more")
        archive.manifest["files"].pop()
        assert problems(archive.write(tmp_path))[0] == "more is not in manifest.json"

    def test_member_not_in_sums(self, tmp_path):
        archive = usual()
        archive.file("unsummed")
        archive.sums.pop()
        assert problems(archive.write(tmp_path)) == ["unsummed is not in SHA256SUMS"]

    def test_sums_of_nothing(self, tmp_path):
        archive = usual()
        archive.sums.append(("ghost", Digest("sha256", "0" * 64)))
        assert problems(archive.write(tmp_path)) == ["ghost is in SHA256SUMS, and not in the archive"]

    def test_sums_that_are_none(self, tmp_path):
        archive = usual()
        archive.sums_tail = b"hello\n"
        assert "line" in problems(archive.write(tmp_path))[0]

    def test_no_sums(self, tmp_path):
        assert problems(usual().write(tmp_path, end=False)) == ["SHA256SUMS is missing"]

    def test_sums_not_the_last(self, tmp_path):
        archive = usual()
        tail = io.BytesIO()
        tar = TarWriter(tail, 0)
        tar.add_bytes(TOP + "/late", b"late", 0o600)
        tar.close()
        archive.list("late", 4)
        archive.sums.append(("late", Digest("sha256", sha(b"late"))))
        content = archive.to_bytes().rstrip(b"\0")
        (tmp_path / "x").write_bytes(content + bytes(-len(content) % 512) + tail.getvalue())
        assert problems(str(tmp_path / "x")) == ["late follows SHA256SUMS, which is to be the last"]

    def test_wrong_size(self, tmp_path):
        archive = usual()
        archive.file("data", b"12345")
        archive.manifest["files"][-1]["size"] = 6
        assert problems(archive.write(tmp_path))[0] == "data has 5 bytes, and is a file of 6 bytes in manifest.json"

    def test_link_that_is_a_file(self, tmp_path):
        archive = usual()
        archive.file("data", target="lib")
        assert "is a link in manifest.json" in problems(archive.write(tmp_path))[0]

    def test_link_to_something_else(self, tmp_path):
        archive = usual()
        archive.link("l", "core.1")
        archive.manifest["files"][-1]["target"] = "run-gdb.sh"
        assert "which manifest.json does not say" in problems(archive.write(tmp_path))[0]

    def test_listed_twice_and_there_twice(self, tmp_path):
        archive = usual()
        archive.file("data")
        archive.file("data")
        found = problems(archive.write(tmp_path))
        assert found[:1] == ["manifest.json lists data twice"] and "data is there twice" in found

    @pytest.mark.parametrize("key", ["files", "missing", "complete", "dump"])
    def test_manifest_without(self, key, tmp_path):
        archive = usual()
        del archive.manifest[key]
        assert problems(archive.write(tmp_path))[0].startswith("manifest.json: %s is not there" % key)

    @pytest.mark.parametrize(
        "entry", [None, [], {}, {"path": 5, "size": 1}, {"path": "x"}, {"path": "\ud800", "size": 0}]
    )
    def test_manifest_entry_that_is_none(self, entry, tmp_path):
        archive = usual()
        archive.manifest["files"].insert(0, entry)
        assert problems(archive.write(tmp_path)) == ["manifest.json: files[0] is damaged"]

    def test_trailing_garbage(self, tmp_path):
        (tmp_path / "x").write_bytes(usual().to_bytes() + b"garbage")
        assert "something follows the end" in problems(str(tmp_path / "x"))[0]
        (tmp_path / "y").write_bytes(encoders()["gzip"](usual().to_bytes()) + b"garbage")
        assert "corrupt at byte" in problems(str(tmp_path / "y"))[0]

    def test_repacked_with_another_map(self, tmp_path):
        archive = Archive()
        archive.core(1 << 40, [(0, 4096)], NOISE[:4096])
        archive.to_bytes()
        archive.members = []
        rows = [(0, 512), (512, 3584)]
        archive.members.append(lambda tar: tar.add_sparse(TOP + "/core.1", 1 << 40, rows, 0o600, [NOISE[:4096]]))
        (text,) = problems(archive.write(tmp_path))
        assert text.startswith("core.1 is damaged: its SHA-256 as stored is")


class TestBuildId:
    def archive(self, data, **more):
        archive = usual()
        archive.file("usr/bin/prog", data, **dict({"build_id": BUILD_ID.hex()}, **more))
        return archive

    def test_another_one(self, tmp_path):
        other = elfwriter.elf_file(build_id=b"\xab" * 20)
        assert problems(self.archive(other).write(tmp_path)) == [
            "usr/bin/prog has build ID %s, and %s in manifest.json" % ("ab" * 20, BUILD_ID.hex())
        ]

    @pytest.mark.parametrize("data", [b"no ELF", b"", ELF[:100], elfwriter.elf_file()], ids=len)
    def test_none(self, data, tmp_path):
        assert "usr/bin/prog has build ID None" in problems(self.archive(data).write(tmp_path))[0]

    @pytest.mark.parametrize("claim", [5, [], "\x1b[31m", "0"], ids=str)
    def test_claims_that_are_none(self, claim, tmp_path):
        found = problems(self.archive(ELF, build_id=claim).write(tmp_path))
        assert len(found) == 1 and "\x1b" not in found[0]

    def test_note_at_the_end_of_a_large_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(check, "_IN_MEMORY", 1000)
        assert problems(self.archive(ELF + bytes(1 << 20)).write(tmp_path)) == []

    @pytest.mark.parametrize("pack", [lzma.compress, gzip.compress], ids=["xz", "gzip"])
    def test_of_a_kernel_module_that_is_compressed(self, pack, tmp_path):
        assert problems(self.archive(pack(ELF)).write(tmp_path)) == []
        other = pack(elfwriter.elf_file(build_id=b"\xab" * 20))
        assert "has build ID %s" % ("ab" * 20) in problems(self.archive(other).write(tmp_path))[0]
        assert "has build ID None" in problems(self.archive(pack(ELF)[:-20]).write(tmp_path))[0]

    def test_of_one_that_would_fill_the_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(check, "MAX_DECOMPRESSED", 1 << 20)
        path = self.archive(lzma.compress(ELF + bytes(4 << 20))).write(tmp_path)
        assert "has build ID None" in problems(path)[0]

    def test_of_the_dump_is_not_looked_at(self, tmp_path):
        assert problems(self.archive(b"core", role="dump").write(tmp_path)) == []


class TestStream:
    @some_encoded
    def test_truncated_at_many_offsets(self, encode, tmp_path):
        content = encode(usual().to_bytes())
        if compression.sniff(content[: compression.HEAD]) is None:
            content = content.rstrip(b"\0") + bytes(600)
        path = tmp_path / "cut"
        for offset in list(range(0, len(content), len(content) // 30)) + [len(content) - 1, len(content) - 9]:
            path.write_bytes(content[:offset])
            try:
                found = problems(str(path))
            except BadDump:
                assert not unpack.is_archive(str(path))
                continue
            assert found and "ends early" in found[0]

    @some_encoded
    def test_flipped_bits(self, encode, tmp_path):
        content = encode(usual().to_bytes())
        path = tmp_path / "flipped"
        # The first bytes of gzip's header have no checksum; tar pads members with zeros that nobody reads.
        for offset in range(10, len(content), len(content) // 60):
            if not content[offset - 8 : offset + 8].strip(b"\0"):
                continue
            broken = bytearray(content)
            broken[offset] ^= 0x40
            if decoded(broken) == decoded(content):
                # Deflate leaves bits unused before a stored block.
                continue
            path.write_bytes(broken)
            try:
                assert problems(str(path)) != []
            except BadDump:
                pass

    def test_hash_of_the_file_when_it_is_damaged_at_once(self, tmp_path):
        content = encoders()["gzip"](usual().to_bytes())
        broken = content[:3000] + bytes(5000) + content[8000:]
        (tmp_path / "x").write_bytes(broken)
        verified = unpack.verify(str(tmp_path / "x"))
        assert not verified.intact and (verified.sha256, verified.size) == (sha(broken), len(broken))


class TestFolder:
    def test_there_already(self, tmp_path, into):
        path = usual().write(tmp_path)
        top = into / TOP
        for make in (top.mkdir, lambda: top.symlink_to("nowhere"), lambda: top.write_text("")):
            make()
            with pytest.raises(CannotWrite, match="is there already"):
                unpack.unpack(path, str(into))
            assert os.listdir(str(into)) == [TOP]
            top.rmdir() if top.is_dir() else top.unlink()

    def test_the_same_archive_again(self, tmp_path, into):
        """What was unpacked is used as it is, also if work was done in it."""
        path = usual().write(tmp_path)
        first = unpack.unpack(path, str(into))
        (into / TOP / "notes").write_text("mine")
        second = unpack.unpack(path, str(into))
        assert not first.again and second == first._replace(again=True)
        assert (into / TOP / "notes").read_text() == "mine" and os.listdir(str(into)) == [TOP]

    @pytest.mark.parametrize("what", ["another dump", "not private", "no manifest", "manifest is a link", "a link"])
    def test_a_folder_that_is_not_of_this_archive_for_us_alone(self, what, tmp_path, into):
        path = usual().write(tmp_path)
        top = into / TOP
        unpack.unpack(path, str(into))
        if what == "another dump":
            other = usual()
            other.manifest["dump"]["identity"] = "1" * 16
            path = other.write(tmp_path)
        elif what == "not private":
            top.chmod(0o750)
        elif what == "a link":
            top.rename(into / "real")
            top.symlink_to("real")
        else:
            (top / "manifest.json").rename(top / "m")
            if what == "manifest is a link":
                (top / "manifest.json").symlink_to("m")
        with pytest.raises(CannotWrite, match="is there already, .*--into DIR"):
            unpack.unpack(path, str(into))

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's folder")
    def test_a_folder_of_another_user(self, tmp_path, into):
        path = usual().write(tmp_path)
        unpack.unpack(path, str(into))
        os.chown(str(into / TOP), 65534, 65534)
        with pytest.raises(CannotWrite, match="is there already"):
            unpack.unpack(path, str(into))

    def test_no_folder_to_unpack_into(self, tmp_path):
        with pytest.raises(CannotWrite, match="cannot write into %s/none: No such.*--into" % tmp_path) as caught:
            unpack.unpack(usual().write(tmp_path), str(tmp_path / "none"))
        assert caught.value.exit_status == 73

    def test_too_small_a_disk(self, tmp_path, into, monkeypatch):
        class Little:
            f_bavail, f_frsize, f_blocks = 1, 4096, 9

        monkeypatch.setattr(os, "statvfs", lambda path: Little)
        with pytest.raises(CannotWrite, match=r"has 4.0 KiB free: .* too few"):
            unpack.unpack(usual().write(tmp_path), str(into))
        assert os.listdir(str(into)) == []

    def test_a_disk_that_becomes_full(self, tmp_path, into):
        """A file size limit stands in for the disk."""
        script = (
            "import resource, signal, sys\n"
            "from savedump_core import errors, unpack\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
            "try: unpack.unpack(sys.argv[1], sys.argv[2])\n"
            "except OSError as error: sys.exit(errors.status_of(error))\n"
        )
        package = sys.modules["savedump_core"].__path__[0].rpartition("/")[0]
        done = subprocess.run(
            [sys.executable, "-c", script, usual().write(tmp_path), str(into)], env={"PYTHONPATH": package}
        )
        assert done.returncode == 73
        assert os.listdir(str(into)) == []

    def test_interrupted(self, tmp_path, into, monkeypatch):
        def interrupt(*arguments):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            unpack.unpack(usual().write(tmp_path), str(into))
        assert os.listdir(str(into)) == []

    def test_errors_have_an_exit_status(self, tmp_path):
        (tmp_path / "x").write_bytes(b"hello")
        with pytest.raises(SavedumpError) as caught:
            unpack.verify(str(tmp_path / "x"))
        assert caught.value.exit_status == 65
