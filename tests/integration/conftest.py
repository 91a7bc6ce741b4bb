# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run the collection against real hosts over ssh."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from support.fleet import Fleet, FleetError
from support.fleet.controller import CORES, Ansible, environment, python_for
from support.vmcores import VmcoresError, why_not
from support.vmcores import vmcores as real_vmcores


@pytest.fixture(scope="module")
def fleet_folder():
    """A new folder with a short path: ssh's control sockets, whose names have at most 108 bytes, lie in it."""
    if os.geteuid():
        pytest.skip("needs root: a test host is a set of Linux namespaces")
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def fleet(fleet_folder):
    """Three hosts for the tests of one module: host1; host2 with another release's root; host3, whose sudo asks."""
    with Fleet(fleet_folder / "f", 3) as running:
        yield running


@pytest.fixture(scope="session", params=sorted(CORES))
def ansible(request, tmp_path_factory):
    """ansible-core in an environment of its own: each test that asks for it runs with the oldest and the newest."""
    if python_for(request.param) is None:
        pytest.skip(f"ansible-core {request.param} needs Python {' or '.join(CORES[request.param][1])}; there is none")
    try:
        environment(request.param)
    except FleetError as error:
        pytest.fail(f"cannot set ansible-core {request.param} up: {error}", pytrace=False)
    return Ansible(request.param, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def vmcores():
    """Real kernel dumps, made on the first call (minutes) and kept: support.vmcores says which. For reading only."""
    return _made("6.1")


@pytest.fixture(scope="session")
def vmcores_612():
    """As vmcores, of a kernel whose modules are compressed. For slow tests."""
    return _made("6.12")


@pytest.fixture(scope="session")
def vmcores_arm64():
    """As vmcores, of another architecture. For slow tests."""
    return _made("6.1-arm64")


def _made(kernel):
    if why_not(kernel):
        pytest.skip(f"no dumps of kernel {kernel}: {why_not(kernel)}")
    try:
        return real_vmcores(kernel)
    except VmcoresError as error:
        pytest.fail(f"cannot make dumps of kernel {kernel}: {error}", pytrace=False)
