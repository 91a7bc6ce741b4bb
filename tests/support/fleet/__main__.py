# SPDX-License-Identifier: Apache-2.0
"""Command line of the test fleet; see `python3 -m tests.support.fleet --help`."""

import argparse
import sys

from .. import machine
from . import Fleet, FleetError, default_hosts, down, fleets

_EXAMPLES = """\
examples:
  python3 -m tests.support.fleet up --hosts 3 --dir /tmp/fleet
  python3 -m tests.support.fleet crash --dir /tmp/fleet host1 host2 host3
  ansible-playbook -i /tmp/fleet/inventory.yml collect-dumps.yml
  python3 -m tests.support.fleet run --dir /tmp/fleet host2 'ls -l /var/crash'
  python3 -m tests.support.fleet down --dir /tmp/fleet
"""


def _up(args: argparse.Namespace) -> None:
    pythons = []
    for version in args.python:
        found = version if "/" in version else machine.interpreter(version)
        if not found:
            raise FleetError(f"no Python {version} in PATH or under pyenv")
        pythons.append(found)
    fleet = Fleet(args.dir, default_hosts(args.hosts, None if args.release == "none" else args.release, pythons)).up()
    fleet.stay()
    for host in fleet.hosts.values():
        spec = host.spec
        print(
            f"{host.name}  {host.address}  {spec.release or 'this machine'}  {spec.python}"
            f"{'  sudo asks' if spec.ask_password else ''}"
        )
    print(f"inventory: {fleet.inventory}")


def _down(args: argparse.Namespace) -> None:
    for directory in fleets().values() if args.all else [args.dir]:
        down(directory)


def _list(args: argparse.Namespace) -> None:
    for link, directory in fleets().items():
        print(link, directory)


def _run(args: argparse.Namespace) -> int:
    done = Fleet.load(args.dir).hosts[args.host].run(*args.command, check=False)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _crash(args: argparse.Namespace) -> None:
    fleet = Fleet.load(args.dir)
    for name in args.host or fleet.hosts:
        print(name, fleet.hosts[name].crash(args.cwd).core)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.support.fleet", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("up", help="bring a fleet up; it runs until it is taken down")
    verb.add_argument("--dir", required=True, help="folder of the fleet's own: keys, inventory.yml, log")
    verb.add_argument("--hosts", type=int, default=3, metavar="N", help="1 to 20 (default 3)")
    verb.add_argument(
        "--release", default="bullseye", help="Debian release of host2's root (default bullseye), or none"
    )
    verb.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="3.X|PATH",
        help="Python of the hosts that share this machine's tree; repeat to hand out several",
    )
    verb.set_defaults(call=_up)

    verb = verbs.add_parser("down", help="take a fleet down, or what a killed run left of it")
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--dir", help="the fleet's folder")
    which.add_argument("--all", action="store_true", help="every fleet of this machine")
    verb.set_defaults(call=_down)

    verb = verbs.add_parser("list", help="the fleets that run on this machine")
    verb.set_defaults(call=_list)

    verb = verbs.add_parser("run", help="run a command as root inside of a host")
    verb.add_argument("--dir", required=True)
    verb.add_argument("host")
    verb.add_argument("command", nargs="+")
    verb.set_defaults(call=_run)

    verb = verbs.add_parser("crash", help="make a real crash in these hosts, or in all")
    verb.add_argument("--dir", required=True)
    verb.add_argument("--cwd", default="/var/crash", help="where the program runs and the core lands")
    verb.add_argument("host", nargs="*")
    verb.set_defaults(call=_crash)

    args = parser.parse_args()
    try:
        return args.call(args) or 0
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
