# SPDX-License-Identifier: Apache-2.0
"""The content store: each file once, under names that never change what they mean."""

import concurrent.futures
import lzma
import os
import subprocess
import sys

import pytest

from savedump_core import store
from savedump_core.errors import BadDump, CannotWrite
from support import archives, elfwriter
from support.archives import BUILD_ID, ELF, sha
from support.command import environment

DEBUG_SECTION = elfwriter.Section(".debug_info", b"\1" * 64)
UNSTRIPPED = elfwriter.elf_file(build_id=BUILD_ID, sections=[DEBUG_SECTION])
EXECUTABLE = "buildid/%s/executable" % BUILD_ID.hex()
DEBUGINFO = "buildid/%s/debuginfo" % BUILD_ID.hex()


def made(folder, name="one.tar", content=ELF, build_id=BUILD_ID, path="usr/lib/libx.so", **more):
    archive = archives.Archive("archive-" + name)
    more = dict({"role": "library", "matched_by": "build-id"}, **more)
    archive.file(path, content, build_id=None if build_id is None else build_id.hex(), **more)
    archive.file("secret", b"of the dump's own", role="beside")
    archive.core(5 << 20, [(4096, 8192)], archives.NOISE[:8192])
    path = folder / name
    path.write_bytes(archive.to_bytes())
    return str(path)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def there(tmp_path):
    return tmp_path / "store"


def test_layout(tmp_path, there):
    done = store.add(str(there), [made(tmp_path)])
    content = "sha256/%s/%s" % (sha(ELF)[:2], sha(ELF))
    assert files(there) == [EXECUTABLE, content]
    assert (there / EXECUTABLE).read_bytes() == ELF and (there / EXECUTABLE).samefile(there / content)
    assert [(one.name, one.member, one.sha256) for one in done.added] == [(EXECUTABLE, "usr/lib/libx.so", sha(ELF))]
    assert (done.known, done.other, done.saved, done.failed) == ((), (), 0, ())


def test_modes_whatever_the_umask(tmp_path, there):
    before = os.umask(0o077)
    try:
        store.add(str(there), [made(tmp_path)])
    finally:
        os.umask(before)
    assert there.stat().st_mode & 0o777 == 0o700
    assert (there / ".incoming").stat().st_mode & 0o777 == 0o700
    assert (there / EXECUTABLE).stat().st_mode & 0o777 == 0o644
    for folder in ("buildid", "buildid/" + BUILD_ID.hex(), "sha256"):
        assert (there / folder).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("role, content, names", [
    ("library", UNSTRIPPED, [DEBUGINFO, EXECUTABLE]), ("vmlinux", UNSTRIPPED, [DEBUGINFO, EXECUTABLE]),
    ("debug", UNSTRIPPED, [DEBUGINFO]), ("supplementary", UNSTRIPPED, [DEBUGINFO]), ("executable", ELF, [EXECUTABLE]),
])  # fmt: skip
def test_what_a_file_is_served_as(tmp_path, there, role, content, names):
    store.add(str(there), [made(tmp_path, content=content, role=role)])
    assert [name for name in files(there) if name.startswith("buildid")] == names


@pytest.mark.parametrize("more", [{"matched_by": "path"}, {"matched_by": "crc"}, {"role": "thread-db"},
                                  {"role": "beside", "build_id": None}])  # fmt: skip
def test_what_no_build_id_proves_stays_out(tmp_path, there, more):
    done = store.add(str(there), [made(tmp_path, **more)])
    assert files(there) == [] and done.failed == ()


def test_the_same_file_again_is_known(tmp_path, there):
    store.add(str(there), [made(tmp_path)])
    inode = (there / EXECUTABLE).stat().st_ino
    done = store.add(str(there), [made(tmp_path, "two.tar"), made(tmp_path, "three.tar", path="opt/libx.so")])
    assert (there / EXECUTABLE).stat().st_ino == inode and (there / EXECUTABLE).stat().st_nlink == 2
    assert done.added == () and len(done.known) == 2 and done.saved == 2 * len(ELF)


def test_another_content_of_a_build_id_never_takes_the_name(tmp_path, there):
    store.add(str(there), [made(tmp_path)])
    forged = ELF + b"another tail"
    done = store.add(str(there), [made(tmp_path, "two.tar", content=forged)])
    assert [(one.name, one.sha256) for one in done.other] == [(EXECUTABLE, sha(forged))] and done.added == ()
    assert (there / EXECUTABLE).read_bytes() == ELF
    assert sha(forged) not in " ".join(files(there))


def test_what_lies_in_the_store_is_looked_at_and_not_believed(tmp_path, there):
    """Its bytes rotted, or somebody put them there."""
    store.add(str(there), [made(tmp_path)])
    (there / EXECUTABLE).unlink()
    (there / EXECUTABLE).write_bytes(b"rotten")
    done = store.add(str(there), [made(tmp_path)])
    assert len(done.other) == 1 and done.known == ()


def test_nothing_is_taken_of_a_damaged_archive_and_all_of_the_next(tmp_path, there):
    bad = made(tmp_path, "bad.tar")
    os.truncate(bad, os.path.getsize(bad) - 10240)
    done = store.add(str(there), [bad, made(tmp_path, "good.tar")])
    ((archive, why),) = done.failed
    assert archive == bad and why and [one.archive for one in done.added] == [str(tmp_path / "good.tar")]
    only = tmp_path / "only"
    assert store.add(str(only), [bad]).added == () and files(only) == []


def test_a_forged_build_id_is_refused(tmp_path, there):
    done = store.add(str(there), [made(tmp_path, build_id=b"\xee" * 20)])
    assert "has build ID" in done.failed[0][1] and files(there) == []


def test_a_compressed_kernel_module_is_kept_as_its_users_take_it(tmp_path, there):
    packed = lzma.compress(ELF)
    words = dict(content=packed, path="lib/modules/6.1/kernel/x.ko.xz", role="kernel-module")
    done = store.add(str(there), [made(tmp_path, **words)])
    assert done.failed == () and (there / EXECUTABLE).read_bytes() == ELF
    again = store.add(str(there), [made(tmp_path, "two.tar", **words)])
    assert [one.name for one in again.known] == [EXECUTABLE] and again.other == ()


def test_a_dry_run_writes_nothing(tmp_path, there):
    assert [one.name for one in store.add(str(there), [made(tmp_path)], dry_run=True).added] == [EXECUTABLE]
    assert not there.exists()
    store.add(str(there), [made(tmp_path)])
    before = files(there)
    again = store.add(str(there), [made(tmp_path)], dry_run=True)
    assert [one.name for one in again.known] == [EXECUTABLE] and again.saved == len(ELF) and files(there) == before


def test_what_a_killed_run_left_is_thrown_away(tmp_path, there):
    store.add(str(there), [made(tmp_path)])
    left = there / ".incoming/tmpx"
    left.mkdir()
    (left / "part").write_bytes(b"half")
    store.add(str(there), [made(tmp_path)])
    assert list((there / ".incoming").iterdir()) == []


def test_a_room_of_somebody_elses_is_not_used(tmp_path, there):
    there.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (there / ".incoming").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotWrite, match="not ours alone"):
        store.add(str(there), [made(tmp_path)])


def test_a_link_under_a_name_of_the_store_is_not_followed(tmp_path, there):
    (there / EXECUTABLE).parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(ELF)
    (there / EXECUTABLE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotWrite, match="symbolic link"):
        store.add(str(there), [made(tmp_path)])


def test_a_folder_that_cannot_be_made(tmp_path):
    with pytest.raises(CannotWrite):
        store.add(str(tmp_path / "none/store"), [made(tmp_path)])


def test_many_at_once(tmp_path, there):
    """Each writes all files; whoever comes first wins, and all agree."""
    archive = archives.Archive("archive-many")
    contents = {}
    for number in range(40):
        build_id = bytes([number + 1]) * 20
        contents[build_id.hex()] = elfwriter.elf_file(build_id=build_id) + os.urandom(50000)
        archive.file("lib%d.so" % number, contents[build_id.hex()], build_id=build_id.hex(), matched_by="build-id")
    path = archive.write(tmp_path)
    words = [sys.executable, "-m", "savedump_core", "store", str(there), path]
    running = [subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for _ in range(4)]  # fmt: skip
    answers = [(one.communicate()[0].decode(), one.returncode) for one in running]
    assert [status for _, status in answers] == [0] * 4
    assert sum(int(text.split()[0]) for text, _ in answers) >= 40
    for build_id, content in contents.items():
        place = there / "buildid" / build_id / "executable"
        assert place.read_bytes() == content and place.stat().st_nlink == 2
    assert list((there / ".incoming").iterdir()) == []


class TestOneFile:
    def test_is_kept_under_its_own_build_id(self, tmp_path, there):
        (tmp_path / "x").write_bytes(ELF)
        kept = store.add_file(str(there), str(tmp_path / "x"), BUILD_ID.hex(), store.EXECUTABLE)
        assert (kept.name, kept.sha256) == (EXECUTABLE, sha(ELF)) and (there / EXECUTABLE).read_bytes() == ELF
        assert store.add_file(str(there), str(tmp_path / "x"), BUILD_ID.hex(), store.EXECUTABLE) == kept

    def test_another_file_is_refused(self, tmp_path, there):
        (tmp_path / "x").write_bytes(ELF)
        with pytest.raises(BadDump, match="has build ID %s, not ee" % BUILD_ID.hex()):
            store.add_file(str(there), str(tmp_path / "x"), "ee" * 20, store.EXECUTABLE)
        (tmp_path / "y").write_bytes(b"no ELF file")
        with pytest.raises(BadDump):
            store.add_file(str(there), str(tmp_path / "y"), BUILD_ID.hex(), store.EXECUTABLE)
        assert files(there) == []

    @pytest.mark.parametrize("kind", [store.EXECUTABLE, store.DEBUGINFO])
    def test_half_of_the_pair_is_not_kept_as_the_other(self, tmp_path, there, kind):
        """A stripped file and the debug file that was stripped off it have one build ID."""
        left_out = elfwriter.Section(".text", b"\x90" * 8, type=elfwriter.SHT_NOBITS, flags=4)  # SHF_EXECINSTR
        half = {store.EXECUTABLE: elfwriter.elf_file(build_id=BUILD_ID, sections=[left_out]), store.DEBUGINFO: ELF}
        (tmp_path / "x").write_bytes(half[kind])
        with pytest.raises(BadDump, match="is no %s" % kind):
            store.add_file(str(there), str(tmp_path / "x"), BUILD_ID.hex(), kind)
        assert files(there) == []

    def test_another_content_does_not_take_the_name(self, tmp_path, there):
        (tmp_path / "x").write_bytes(ELF)
        (tmp_path / "y").write_bytes(ELF + b"tail")
        store.add_file(str(there), str(tmp_path / "x"), BUILD_ID.hex(), store.EXECUTABLE)
        with pytest.raises(CannotWrite, match="another content"):
            store.add_file(str(there), str(tmp_path / "y"), BUILD_ID.hex(), store.EXECUTABLE)
        assert (there / EXECUTABLE).read_bytes() == ELF


def test_several_sessions_that_meet_a_damaged_file_take_it_out_once(there, tmp_path):
    store.add(str(there), [made(tmp_path)])
    content = there / "sha256" / sha(ELF)[:2] / sha(ELF)
    for _round in range(20):
        content.unlink()
        content.write_bytes(b"rotten" * (1 << 16))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda _: store.drop_damaged(str(there), sha(ELF)), range(4)))
        assert any(said) and not content.exists()
        content.write_bytes(ELF)
        assert not store.drop_damaged(str(there), sha(ELF)) and content.exists()
