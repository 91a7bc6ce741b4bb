# Copyright (c) The savedump authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action for the module of the same name: see plugin_utils/_verb.py."""

from __future__ import annotations

from ansible_collections.savedump.toolkit.plugins.plugin_utils._verb import VerbAction


class ActionModule(VerbAction):
    """Runs the module savedump_remove."""

    VERB = "savedump_remove"
