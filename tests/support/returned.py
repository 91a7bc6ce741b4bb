# SPDX-License-Identifier: Apache-2.0
"""What modules return against what their RETURN promises, both ways."""

from __future__ import annotations

import re

from . import documents

#: What Ansible itself puts into results.
ANSIBLES = {
    "ansible_facts", "ansible_loop_var", "changed", "changed_when_result", "deprecations", "exception", "failed",
    "failed_when_result", "failed_when_suppressed_exception", "invocation", "item", "warnings",
}  # fmt: skip
#: The types of RETURN, as they come out of JSON.
TYPES = {"str": str, "int": int, "bool": bool, "float": float, "list": list, "dict": dict}
#: What has a schema in place of a "contains": by its key, a part of docs/schemas.
PARTS = {"process": "process", "kernel": "kernel", "package": "package", "modules": "modules"}
_LIKE = re.compile(r"As in RV\(savedump\.toolkit\.(\w+)#module:([\w.\[\]]+)\)")


class Promises:
    """The RETURN of every module. Give it results, then ask for what was promised and never seen."""

    def __init__(self, returned):
        """`returned`: a module's name to its RETURN, read."""
        self.returned = returned
        self._seen = set()

    def problems(self, module, result, failed=False):
        """What is wrong with one result, a line each."""
        own = {key: value for key, value in result.items() if key not in ANSIBLES and key[:8] != "_ansible"}
        return list(self._object(module, "", self.returned[module], own, failed))

    def unseen(self):
        """The keys that no result had: those that come under a condition would be untested otherwise."""
        return sorted(set(self._all()) - self._seen)

    def _all(self):
        def below(module, where, keys):
            for key, spec in keys.items():
                yield f"{module}: {where}{key}"
                yield from below(module, f"{where}{key}.", spec.get("contains") or {})

        for module, keys in self.returned.items():
            yield from below(module, "", keys)

    def _object(self, module, where, promised, value, failed):
        for key in sorted(value.keys() - promised.keys()):
            yield f"{module}: {where}{key} is returned and not in RETURN"
        for key, spec in promised.items():
            if key in value:
                self._seen.add(f"{module}: {where}{key}")
                yield from self._value(module, f"{where}{key}", spec, value[key], failed)
            elif _expected(where, spec, failed):
                yield f"{module}: {where}{key} is promised ({spec.get('returned', 'with the rest')}) and not returned"

    def _value(self, module, where, spec, value, failed):
        words = " ".join([spec["description"]] if isinstance(spec["description"], str) else spec["description"])
        like = _LIKE.search(words)
        if value is None:
            if "V(null)" not in words and not like and "See RV(" not in words:
                yield f"{module}: {where} is null, which its description does not say"
            return
        if type(value) is not TYPES[spec["type"]]:
            yield f"{module}: {where} is of type {type(value).__name__}, not {spec['type']}"
            return
        contains = self._like(like) if like else spec.get("contains")
        for each in value if isinstance(value, list) else [value]:
            if isinstance(value, list) and type(each) is not TYPES[spec["elements"]]:
                yield f"{module}: {where} has an element of type {type(each).__name__}, not {spec['elements']}"
            elif isinstance(each, dict) and contains:
                yield from self._object(module, where + ".", contains, each, failed)
        part = PARTS.get(where.rpartition(".")[2])
        if part and not contains:
            yield from (f"{module}: {where}: {line}" for line in documents.problems(value, part=part))

    def _like(self, found):
        """The "contains" of another module that a description refers to."""
        keys, spec = self.returned[found[1]], {}
        for step in found[2].replace("[]", "").split("."):
            spec = keys[step]
            keys = spec.get("contains") or {}
        return spec.get("contains")


def _expected(where, spec, failed):
    """Whether a key has to be in a result. One below a key comes with that, unless it says otherwise."""
    returned = spec.get("returned")
    if where and returned is None:
        return True
    return returned == "always" or (returned == "success" and not failed)
