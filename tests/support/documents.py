# SPDX-License-Identifier: Apache-2.0
"""The JSON documents that savedump writes, against docs/schemas. There, keys that nobody described are allowed, since
keys may be added; here they are not, so that one that is added has to be described.

Needs jsonschema, and the checkout: without them, `available` is False and nothing is checked.
"""

import contextlib
import copy
import functools
import importlib.util
import json
import os
import re

from support import checkout

FOLDER = checkout.CHECKOUT / "docs" / "schemas"
#: Names of the schemas, by what "schema" says in the documents that have it.
BY_SCHEMA = {
    "savedump.dump/1": "dump",
    "savedump.manifest/1": "manifest",
    "savedump.summary/1": "summary",
}
_MOST = 20
#: Tests that write what savedump never would.
_INVENTED = (
    "test_a_member_that_this_version_knows_nothing_of_stays",
    "test_what_is_cut_out_of_vmlinux_is_a_hole_and_the_rest_is_its_bytes",
)

available = importlib.util.find_spec("jsonschema") is not None and FOLDER.is_dir()


@functools.lru_cache(maxsize=None)
def schemas():
    """Every schema as it is published, by file name."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.schema.json"))}


def problems(document, name=None, part=None, closed=True):
    """What is wrong with a document by the schema `name`, or by the one that it names itself, a line each. `part` is a
    definition of common.schema.json in place of a document's."""
    if part is None:
        name = name or BY_SCHEMA[document["schema"]]
        at = {"$ref": name + ".schema.json"}
    else:
        at = {"$ref": "common.schema.json#/$defs/" + part}
    found = sorted(_validator(json.dumps(at), closed).iter_errors(document), key=lambda error: error.json_path)
    return [_line(error) for error in found[:_MOST]]


def check(document, name=None, part=None):
    """Fail the test with what is wrong, if anything is."""
    wrong = problems(document, name, part) if available else []
    if wrong:
        raise AssertionError("docs/schemas does not describe this document:\n" + "\n".join(wrong))


@contextlib.contextmanager
def watched():
    """Inside, each document that is written or returned in this very process is checked."""
    if not available:
        yield
        return
    from savedump_core import api, archive, manifest, store, stores, unpack
    from savedump_core.cli import say

    results = {"archive": api.Archived, "find": stores.FindReport, "store": store.Stored, "verify": unpack.Verified}
    with contextlib.ExitStack() as stack:
        for module in (archive, manifest, say):
            stack.enter_context(_replaced(module, "to_bytes", lambda was: lambda value: was(_if_named(value))))
        for name, result in results.items():
            stack.enter_context(_replaced(result, "as_json", functools.partial(_checked, name)))
        yield


@contextlib.contextmanager
def _replaced(owner, name, make):
    was = getattr(owner, name)
    setattr(owner, name, make(was))
    try:
        yield
    finally:
        setattr(owner, name, was)


def _if_named(value):
    invented = any(name in os.environ.get("PYTEST_CURRENT_TEST", "") for name in _INVENTED)
    if isinstance(value, dict) and value.get("schema") in BY_SCHEMA and not invented:
        check(value)
    return value


def _checked(name, as_json):
    def checked(result):
        document = as_json(result)
        check(json.loads(json.dumps(document)), name)
        return document

    return checked


def _line(error):
    while error.context:  # of alternatives, what is wrong with the one that was meant
        error = max(error.context, key=lambda each: (len(each.absolute_path), each.validator != "type"))
    return "%s: %s" % (error.json_path, error.message[:300])


@functools.lru_cache(maxsize=None)
def _validator(at, closed):
    import jsonschema
    import referencing
    from referencing.jsonschema import DRAFT202012

    published = {schema["$id"]: schema for schema in schemas().values()}
    used = {key: _closed(schema) for key, schema in published.items()} if closed else published
    resources = [(key, DRAFT202012.create_resource(schema)) for key, schema in used.items()]
    base = next(iter(published)).rpartition("/")[0]
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": base + "/asked", **json.loads(at)}
    return jsonschema.Draft202012Validator(whole, registry=referencing.Registry().with_resources(resources))


def _closed(schema):
    """The same with no key allowed in an object that is not among its properties. What it takes over from others by
    allOf is written out, for that has properties, too."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:  # written out, too: to follow references takes half of all time
        return _closed(_referred(schema["$ref"]))
    schema = _merged(schema)
    made = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: _closed(each) for name, each in value.items()}
        elif key in ("if", "then", "else", "not", "enum", "const", "required"):
            made[key] = value
        else:
            made[key] = _closed(value)
    if "properties" in schema and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made


def _merged(schema):
    """With its allOf, whose members are references, written out."""
    if not all(set(each) == {"$ref"} for each in schema.get("allOf", [{}])):
        return schema
    merged = {"required": [], "properties": {}}
    for part in [_merged(_referred(each["$ref"])) for each in schema["allOf"]] + [schema]:
        merged["required"] += part.get("required", [])
        for name, each in part.get("properties", {}).items():
            known = merged["properties"].get(name)
            merged["properties"][name] = each if known is None else {"allOf": [known, each]}
    rest = {key: value for key, value in schema.items() if key not in ("allOf", "required", "properties")}
    return {"type": "object", **rest, **merged}


def _referred(reference):
    name, _hash, pointer = reference.partition("#/")
    found = schemas()[name]
    for step in pointer.split("/"):
        found = found[step]
    return copy.deepcopy(found)


def undescribed(schema, at="$"):
    """Places of a schema's properties that have no description."""
    if isinstance(schema, list):
        return [each for number, one in enumerate(schema) for each in undescribed(one, "%s[%d]" % (at, number))]
    if not isinstance(schema, dict):
        return []
    found = []
    for key, value in schema.items():
        where = "%s.%s" % (at, key)
        if key in ("if", "then", "else"):
            continue
        if key == "properties":
            for name, each in value.items():
                if not re.fullmatch(r"\S.*\.", str(each.get("description"))):
                    found.append("%s.%s" % (where, name))
        found.extend(undescribed(value, where))
    return found
