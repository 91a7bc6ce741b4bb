# SPDX-License-Identifier: Apache-2.0
"""A core of another system is named as such and refused: half of it would look like a damaged core of Linux."""
import subprocess

import pytest

from savedump_core import api, errors
from support import other_systems


@pytest.mark.parametrize("system", other_systems.SYSTEMS)
@pytest.mark.parametrize("osabi", [True, False])
def test_named_and_refused(system, osabi, tmp_path):
    core = other_systems.core_of(system, osabi).write(str(tmp_path / "core"))
    with pytest.raises(errors.BadDump) as refused:
        api.inspect(core)
    assert system in refused.value.message
    assert refused.value.exit_status == 65


@pytest.mark.parametrize("system", ["FreeBSD", "NetBSD", "OpenBSD"])
def test_binutils_sees_that_system_too(system, tmp_path):
    core = other_systems.core_of(system).write(str(tmp_path / "core"))
    said = subprocess.run(["readelf", "-Wn", core], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    assert system in said.stdout.decode()
