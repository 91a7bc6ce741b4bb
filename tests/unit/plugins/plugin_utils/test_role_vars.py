# SPDX-License-Identifier: Apache-2.0
"""The expressions of the role collect that take what hosts say."""

import os

import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from jinja2 import StrictUndefined
from jinja2.nativetypes import NativeEnvironment

_ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[os.pardir] * 4)
HOSTS = ["web1", "web2", "web3"]


def chosen(host, offers):
    """__collect_chosen on this host, from what the hosts have offered."""
    with open(os.path.join(_ROOT, "roles/collect/vars/main.yml")) as stream:
        expression = yaml.safe_load(stream)["__collect_chosen"]
    environment = NativeEnvironment(undefined=StrictUndefined)
    environment.filters.update(FilterModule().filters())
    hostvars = {name: {"__collect_offered": {"files": files}} for name, files in offers.items()}
    own = dict(hostvars[host], hostvars=hostvars, ansible_play_hosts_all=HOSTS, inventory_hostname=host)
    return environment.from_string(expression).render(**own)


def test_nothing_travels_twice():
    first, second = {"name": "m/a"}, {"name": "m/b"}
    offers = {"web1": [first], "web2": [first, second], "web3": [second]}
    assert [chosen(host, offers) for host in HOSTS] == [[first], [second], []]


@pytest.mark.parametrize("lie", [{}, {"name": ["m/a"]}, {"name": None}, "text", 5], ids=repr)
def test_an_offer_without_a_name_stops_no_host(lie):
    offer = {"name": "m/a"}
    assert [chosen(host, {"web1": [lie], "web2": [offer], "web3": [lie]}) for host in HOSTS] == [[], [offer], []]
