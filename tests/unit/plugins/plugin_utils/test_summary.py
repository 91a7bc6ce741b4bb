# SPDX-License-Identifier: Apache-2.0
"""The play's last words: every host is named, with what came, what is missing and where was looked."""

import json

import pytest
from ansible_collections.savedump.toolkit.plugins.plugin_utils import _summary

PROCESS = {"executable": "/usr/sbin/httpd", "comm": "httpd", "pid": 1234, "signal": {"number": 11, "name": "SIGSEGV"}}
DUMP = {
    "path": "/var/crash/core.1234",
    "stored_size": 9 << 20,
    "mtime_ns": 1700000000 * 10**9,
    "kind": "core",
    "complete": True,
    "process": PROCESS,
}
LOOKED = [{"store": "core_pattern", "where": "/var/crash", "outcome": "1 found"}]
FOUND = {"dumps": [DUMP], "looked": LOOKED}
MADE = {
    "path": "/var/tmp/savedump/archive-core.1234.tar.gz",
    "sha256": "ab" * 32,
    "size": 3 << 20,
    "planned_size": 9 << 20,
    "complete": True,
    "changed": True,
    "missing": [],
    "dump": DUMP,
}
ARCHIVED = {"archives": [MADE], "not_archived": [], "looked": []}
HOME = "/home/me/collected/web1/archive-core.1234.tar.gz"
FETCHED = {"results": [{"item": MADE, "path": HOME, "sha256": "ab" * 32, "size": 3 << 20, "changed": True}]}
VERIFIED = {"archives": [{"path": HOME, "intact": True, "complete": True, "problems": []}], "looked": []}
DOWN = {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: ssh: connect: no route"}


def changed(value, **keys):
    return dict(value, **keys)


def text(**outcomes):
    return "\n".join(_summary.lines(outcomes, dest="/home/me/collected", here="/home/me"))


def test_all_well():
    outcome = _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED)
    assert (outcome["status"], outcome["errors"], outcome["gaps"], outcome["changed"]) == ("complete", [], [], True)
    assert [(each["path"], each["verified"]) for each in outcome["archives"]] == [(HOME, True)]
    words = text(web1=outcome)
    assert "collected/web1/archive-core.1234.tar.gz  (/usr/sbin/httpd, SIGSEGV, pid 1234, verified)" in words
    assert "tar -xf collected/web1/archive-core.1234.tar.gz && archive-core.1234/run-gdb.sh" in words
    json.dumps(outcome)


@pytest.mark.parametrize("fetched", [None, {"results": []}, {"results": [{"item": MADE, "skipped": True}]}])
def test_what_was_to_come_and_did_not_is_said(fetched):
    """A task between may have failed for a reason of its own."""
    outcome = _summary.outcome(FOUND, ARCHIVED, fetched, coming=True)
    assert outcome["errors"] == ["%s was not fetched: an earlier task failed on this host" % MADE["path"]]
    assert outcome["status"] == "failed"
    assert _summary.outcome(FOUND, ARCHIVED, fetched)["errors"] == []  # archive-dumps.yml leaves it where it is
    (said,) = _summary.outcome(FOUND, ARCHIVED, fetched, room="the disk is full", coming=True)["errors"]
    assert said == "nothing was fetched: the disk is full"


@pytest.mark.parametrize(
    "came, why",
    [
        ({"rc": 1, "stderr": "rm: Operation not permitted\n", "msg": "non-zero return code"}, "rm: Operation not perm"),
        ({"rc": 1, "stdout": "rm: cannot remove it\r\n", "stderr": "Shared connection closed.\n"}, "rm: cannot remove"),
        ({"rc": 1, "stdout": "", "stderr": "", "msg": "non-zero return code"}, "non-zero return code"),
        ({"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: no route"}, "no route"),
        ({"msg": "Missing sudo password"}, "Missing sudo password (give it with"),
    ],
)
def test_an_archive_that_stays_on_the_host_is_said(came, why):
    cleared = {"results": [{"item": "/a", "rc": 0}, {"item": "/b", "skipped": True}, dict(came, item="/c")]}
    outcome = _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED, cleared=cleared)
    (said,) = outcome["errors"]
    assert said.startswith("/c was not removed from the host: " + why)
    assert outcome["status"] == "failed" and outcome["archives"][0]["verified"]


def test_what_is_here_already_is_not_missed():
    home = {"on_target": MADE["path"], "path": HOME, "better": True, "filled": [], "missing": [], "size": 1,
            "complete": True}  # fmt: skip
    kept = {"results": [{"item": MADE, "skipped": True}]}
    homes = {"archives": [home], "errors": []}
    assert _summary.outcome(FOUND, ARCHIVED, kept, None, homes, coming=True)["errors"] == []
    assert _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED, coming=True)["errors"] == []
    planned = changed(MADE, sha256=None, size=None)
    assert _summary.outcome(FOUND, {"archives": [planned]}, coming=True)["errors"] == []


@pytest.mark.parametrize("mark", ["", "-0123456789abcdef", "-abababab"])
def test_the_folder_in_an_archive_is_named_right(mark):
    made = changed(
        MADE, path=MADE["path"].replace(".tar", mark + ".tar"), dump=changed(DUMP, identity="0123456789abcdef")
    )
    fetched = {"results": [changed(FETCHED["results"][0], item=made)]}
    words = text(web1=_summary.outcome(FOUND, {"archives": [made]}, fetched))
    assert words.endswith(" && archive-core.1234/run-gdb.sh")


def test_a_second_run_says_so():
    same = changed(MADE, changed=False)
    fetched = {"results": [changed(FETCHED["results"][0], item=same, changed=False)]}
    outcome = _summary.outcome(FOUND, {"archives": [same]}, fetched, VERIFIED)
    assert not outcome["changed"]
    assert "nothing new" in text(web1=outcome)


def test_no_dumps_says_where_it_looked():
    looked = [{"store": "core_pattern", "where": "/dir%d" % number, "outcome": "no dump"} for number in range(50)]
    outcome = _summary.outcome({"dumps": [], "looked": looked}, {"skipped": True, "changed": False})
    assert outcome["status"] == "no-dumps"
    words = text(web1=outcome)
    assert "no dumps" in words and "/dir0, /dir1" in words and "30 more: no dump" in words


def test_a_host_that_is_down():
    outcome = _summary.outcome(DOWN)
    assert outcome["status"] == "unreachable"
    assert "web1  NOT REACHED: ssh: connect: no route" in text(web1=outcome)


def test_a_host_that_an_earlier_task_lost():
    assert _summary.outcome(None)["status"] == "failed"


def test_one_that_broke_at_once():
    outcome = _summary.outcome({"failed": False, "msg": "Missing sudo password"})
    assert outcome["status"] == "failed"
    assert "--ask-become-pass" in text(web1=outcome)


def test_a_gap_is_no_error_and_names_both_build_ids():
    gap = {
        "module": "libx.so.1",
        "kind": "loaded",
        "needed": True,
        "build_id": "aa11",
        "attempts": [
            {"path": "/opt/libx.so.1", "outcome": "absent"},
            {"path": "/usr/lib/libx.so.1", "outcome": "other-build-id", "detail": "bb22"},
        ],
    }
    made = changed(MADE, complete=False, missing=[gap, changed(gap, kind="debug", needed=False)])
    outcome = _summary.outcome(FOUND, {"archives": [made]}, FETCHED, VERIFIED)
    assert (outcome["status"], outcome["errors"], len(outcome["gaps"])) == ("gaps", [], 1)
    words = text(web1=outcome)
    assert "INCOMPLETE" in words and "aa11" in words and "bb22" in words


@pytest.mark.parametrize(
    "outcome, detail, told",
    [
        ("no-build-id", "", "libx.so.1: /opt/libx.so.1 is there, but nothing proves it"),
        ("other-build-id", "bb22", "libx.so.1: /opt/libx.so.1 has another build ID, bb22"),
        ("other-build-id", "a file for i386", "libx.so.1: /opt/libx.so.1 is another file: a file for i386"),
        ("unreadable", "Permission denied", "libx.so.1: /opt/libx.so.1 is unreadable: Permission denied"),
        ("refused", "a FIFO, not a regular file", "libx.so.1: /opt/libx.so.1 was refused: a FIFO, not a regular file"),
        ("absent", "", "libx.so.1: not in /lib/libx.so.1, /opt/libx.so.1"),
    ],
)
def test_a_gap_says_what_came_of_the_most_telling_place(outcome, detail, told):
    attempts = [
        {"path": "/lib/libx.so.1", "outcome": "absent", "detail": ""},
        {"path": "/opt/libx.so.1", "outcome": outcome, "detail": detail},
    ]
    # An archive of an older version does not say that it is needed.
    gap = {"module": "libx.so.1", "kind": "loaded", "build_id": None, "attempts": attempts}
    made = changed(MADE, complete=False, missing=[gap])
    assert _summary.outcome(FOUND, {"archives": [made]}, FETCHED, VERIFIED)["gaps"] == ["core.1234: " + told]


def test_names_of_a_target_are_no_words_to_the_terminal():
    """Neither a new line that looks like a host's nor an escape sequence."""
    process = changed(PROCESS, executable="/opt/x\nweb9  1 archive\x1b[31m")
    dump = changed(DUMP, path="/var/crash/core\n\udcff", process=process)
    gap = {"module": "a\rb", "kind": "loaded", "needed": True, "attempts": []}
    made = changed(MADE, dump=dump, complete=False, missing=[gap])
    looked = [{"store": "given", "where": "/a\nb", "outcome": "no\tdump"}]
    outcomes = {
        "web1": _summary.outcome({"dumps": [dump], "looked": LOOKED}, {"archives": [made]}),
        "web2": _summary.outcome({"dumps": [], "looked": looked}),
    }
    lines = _summary.lines(outcomes)
    assert all(line.isprintable() for line in lines)
    words = "\n".join(lines)
    assert "/opt/x\\x0aweb9  1 archive\\x1b[31m" in words and "core\\x0a\\xff" in words and "lacks a\\x0db" in words
    assert "looked in /a\\x0ab: no\\x09dump" in words


def test_no_dumps_says_what_next():
    empty = _summary.outcome({"dumps": [], "looked": []})
    hint = 'To look in another folder:  -e \'{"collect_paths": ["DIR"]}\''
    assert _summary.lines({"web1": empty, "web2": empty}).count(hint) == 1
    assert hint not in text(web1=_summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED))


def test_a_truncated_dump_is_a_gap():
    made = changed(MADE, dump=changed(DUMP, complete=False, incomplete_why="1 of 9 MiB are there"))
    outcome = _summary.outcome(FOUND, {"archives": [made]}, FETCHED, VERIFIED)
    assert outcome["status"] == "gaps"
    assert "the dump itself is not whole: 1 of 9 MiB are there" in text(web1=outcome)


def test_one_dump_that_failed_does_not_hide_the_others():
    left = {"dump": "/var/crash/core.9", "why": "not a dump", "failed": True, "exit_status": 65}
    outcome = _summary.outcome(FOUND, changed(ARCHIVED, not_archived=[left]), FETCHED, VERIFIED)
    assert outcome["status"] == "failed"
    assert outcome["archives"][0]["verified"]
    assert "FAILED: /var/crash/core.9: not a dump" in text(web1=outcome)


def test_one_that_was_passed_over_is_a_gap():
    left = {"dump": "/var/crash/core.9", "why": "permission denied", "failed": False, "exit_status": 77}
    assert _summary.outcome(FOUND, changed(ARCHIVED, not_archived=[left]), FETCHED, VERIFIED)["status"] == "gaps"


def test_archiving_that_failed_as_a_whole():
    outcome = _summary.outcome(FOUND, {"failed": False, "msg": "No space left on device"})
    assert (outcome["status"], outcome["errors"]) == ("failed", ["No space left on device"])


def test_a_transfer_that_failed():
    outcome = _summary.outcome(FOUND, ARCHIVED, {"results": [{"item": MADE, "msg": "it ended at byte 5 of 9"}]})
    assert outcome["status"] == "failed"
    assert "was not fetched: it ended at byte 5 of 9" in text(web1=outcome)


def test_a_damaged_archive():
    damaged = {"path": HOME, "intact": False, "complete": False, "problems": ["core: SHA-256 differs"]}
    outcome = _summary.outcome(FOUND, ARCHIVED, FETCHED, {"archives": [damaged], "looked": []})
    assert outcome["status"] == "failed"
    words = text(web1=outcome)
    assert "DAMAGED" in words and "core: SHA-256 differs" in words


def test_what_came_and_was_not_verified_is_said():
    """As when "localhost" was another machine, on which no such file is."""
    outcome = _summary.outcome(FOUND, ARCHIVED, FETCHED, {"archives": [], "looked": []})
    assert outcome["errors"] == ["%s was not verified: it is not there" % HOME]
    assert _summary.outcome(FOUND, ARCHIVED, FETCHED, {"skipped": True})["errors"] == []


def test_an_archive_that_is_damaged_on_the_host_is_said():
    """tasks_from: fetch. One that cannot even be read does not come, so no proof here speaks of it."""
    junk = changed(MADE, sha256=None, size=None, planned_size=None, dump=None, complete=False, intact=False)
    junk["problems"] = ["it is no archive"]
    found = {"archives": [junk], "looked": LOOKED}
    outcome = _summary.outcome(None, found, {"results": [{"item": junk, "skipped": True}]}, coming=True)
    assert outcome["errors"] == ["%s is damaged on the host: it is no archive" % MADE["path"]]
    words = text(web1=outcome)
    assert "would be made" not in words and "None" not in words
    cut = changed(junk, sha256="ab" * 32, size=9)
    proof = {"path": HOME, "intact": False, "complete": False, "problems": ["it ends early"]}
    fetched = {"results": [changed(FETCHED["results"][0], item=cut)]}
    outcome = _summary.outcome(None, {"archives": [cut], "looked": LOOKED}, fetched, {"archives": [proof]}, coming=True)
    assert outcome["errors"] == ["%s is damaged: it ends early" % HOME]


def test_what_was_named_and_not_read_is_said_beside_what_came():
    looked = [
        {"store": "given", "where": "/a/core", "outcome": "Permission denied"},
        {"store": "given", "where": "/secret", "outcome": "Permission denied"},
        {"store": "given", "where": "/b/notes", "outcome": "/b/notes is not a dump: it is a text file"},
        {"store": "given", "where": "/absent", "outcome": "No such file or directory"},
        {"store": "given", "where": "/var/crash", "outcome": "1 found"},
    ]
    unread = [{"path": "/a/core", "why": "/a/core: Permission denied; run it as root", "exit_status": 77}]
    outcome = _summary.outcome(changed(FOUND, looked=looked, unread=unread), ARCHIVED, FETCHED, VERIFIED)
    assert (outcome["status"], outcome["errors"]) == ("failed", ["/a/core: Permission denied; run it as root"])
    assert outcome["left"] == ["/secret: Permission denied", "/b/notes is not a dump: it is a text file"]
    words = text(web1=outcome)
    assert "not archived: /secret: Permission denied" in words and words.count("/a/core") == 1
    assert "looked in /absent: No such file" in words and "1 found" not in words


def test_a_place_that_could_not_be_looked_into_is_said_beside_what_came():
    looked = [
        {"store": "core_pattern", "where": "core", "outcome": "relative: each core lies in its process's folder"},
        {"store": "core_pattern", "where": "/tmp", "outcome": "no dump"},
        {"store": "abrt", "where": "/var/spool/abrt", "outcome": "No such file or directory"},
        {"store": "kdump", "where": "/var/crash/1/vmcore", "outcome": "it is a text file"},
        {"store": "kdump", "where": "nfs:/export", "outcome": "it is not mounted"},
        {"store": "pstore", "where": "/sys/fs/pstore", "outcome": "no log of a crash"},
    ]
    outcome = _summary.outcome(changed(FOUND, looked=looked), ARCHIVED, FETCHED, VERIFIED)
    assert outcome["status"] == "complete"
    words = text(web1=outcome)
    assert words.count("looked in") == 2
    assert "looked in /var/crash/1/vmcore: it is a text file" in words
    assert "looked in nfs:/export: it is not mounted" in words


def test_where_archives_were_looked_for_nobody_is_told_to_look_for_dumps():
    looked = [{"store": "archives", "where": "/srv/none", "outcome": "No such file or directory"}]
    words = text(web1=_summary.outcome(None, None, None, {"archives": [], "looked": looked}))
    assert "no archives" in words and "looked in /srv/none: No such file or directory" in words
    assert "collect_paths" not in words


def test_what_a_host_sent_for_others_is_counted():
    brought = {"results": [{"sha256": "ab" * 32, "wire_bytes": 5}, {"msg": "cut", "wire_bytes": 2}, {"skipped": True}]}
    outcome = _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED, filling=[None, brought])
    assert outcome["wire_bytes"] == _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED)["wire_bytes"] + 7


def test_hosts_of_later_batches_are_named():
    lines = _summary.lines({"web1": _summary.outcome(FOUND)}, to_come=["web%d" % number for number in range(2, 25)])
    assert lines[-1].startswith("STILL TO COME, nothing is known of them: web2, web3, ")
    assert lines[-1].endswith("web21 and 3 more.")


def test_a_long_name_leaves_room_for_words():
    name = "ip-10-0-0-1.eu-central-1.compute.internal"
    lines = _summary.lines({name: _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED)}, width=80)
    assert lines[:2] == [name, "    1 archive, 3.0 MiB"]


def test_check_mode_says_how_many_bytes():
    planned = changed(MADE, sha256=None, size=None)
    outcome = _summary.outcome(FOUND, {"archives": [planned]})
    words = text(web1=outcome)
    assert "1 archive would be made, reading 9.0 MiB" in words
    assert "/var/crash/core.1234 -> /var/tmp/savedump/archive-core.1234.tar.gz" in words


def test_find_alone_lists_the_dumps():
    words = text(web1=_summary.outcome(FOUND))
    assert "/var/crash/core.1234  (/usr/sbin/httpd, SIGSEGV, pid 1234, 9.0 MiB, 2023-11-14 22:13:20 UTC)" in words


def test_verify_alone():
    proof = changed(MADE, path=HOME, intact=True, problems=[], changed=False)
    outcome = _summary.outcome(None, None, None, {"archives": [proof], "looked": LOOKED})
    assert (outcome["status"], outcome["archives"][0]["path"]) == ("complete", HOME)


def test_the_total_counts_hosts():
    outcomes = {
        "web1": _summary.outcome(FOUND, ARCHIVED, FETCHED, VERIFIED),
        "web2": _summary.outcome({"dumps": [], "looked": []}),
        "web3": _summary.outcome(DOWN),
    }
    words = text(**outcomes)
    assert "1 archive in collected (3.0 MiB); 1 of 3 hosts without dumps; 1 of 3 hosts not reached." in words


@pytest.mark.parametrize("status", ["complete", "no-dumps", "unreachable", "failed", "gaps"])
def test_every_status_can_be_reached(status):
    values = {
        "complete": _summary.outcome(FOUND),
        "no-dumps": _summary.outcome({"dumps": [], "looked": []}),
        "unreachable": _summary.outcome(DOWN),
        "failed": _summary.outcome(None),
        "gaps": _summary.outcome(
            FOUND, {"archives": [], "not_archived": [{"dump": "x", "why": "y", "failed": False, "exit_status": 77}]}
        ),
    }
    assert values[status]["status"] == status


def test_a_kernel_that_panicked_is_told_from_a_process_that_died():
    kernel = {"release": "6.1.0-56-amd64", "nodename": "db-01", "panic": "BUG: kernel NULL pointer dereference"}
    dump = changed(DUMP, path="/var/crash/1/vmcore", kind="kdump-compressed", process=None, kernel=kernel)
    home = "/home/me/collected/web1/db-01.archive-vmcore.tar.gz"
    made = changed(MADE, path="/var/tmp/savedump/db-01.archive-vmcore.tar.gz", dump=dump)
    outcome = _summary.outcome(
        changed(FOUND, dumps=[dump]),
        changed(ARCHIVED, archives=[made]),
        {"results": [changed(FETCHED["results"][0], item=made, path=home)]},
        {"archives": [changed(VERIFIED["archives"][0], path=home)], "looked": []},
    )
    assert outcome["status"] == "complete", outcome
    words = text(web1=outcome)
    assert "(6.1.0-56-amd64, BUG: kernel NULL pointer dereference, verified)" in words
    assert words.endswith("db-01.archive-vmcore.tar.gz && db-01.archive-vmcore/run-crash.sh")


@pytest.mark.parametrize("lie", [None, -1, "text", [1], {"a": 1}, 1e308], ids=repr)
def test_a_target_that_lies_costs_no_other_its_summary(lie):
    """Whatever stands in its answer, of which any part may be anything."""
    gap = {"module": "m", "kind": "loaded", "attempts": [{"path": "p", "outcome": "mismatch", "detail": "x"}]}
    found, archived = {"dumps": [DUMP], "looked": LOOKED, "left_out": 0}, {"archives": [changed(MADE, missing=[gap])]}
    for which, answer in enumerate((found, archived)):
        for path in _places(answer):
            answers = [found, archived]
            answers[which] = _with(answer, path, lie)
            outcomes = {"liar": _summary.outcome(*answers), "other": _summary.outcome(FOUND, ARCHIVED)}
            assert _summary.lines(outcomes) and outcomes["other"] == _summary.outcome(FOUND, ARCHIVED)


def _places(value, path=()):
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from _places(inner, (*path, key))


def _with(value, path, lie):
    if not path:
        return lie
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], lie)
    return copy
