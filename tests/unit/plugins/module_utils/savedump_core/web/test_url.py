# SPDX-License-Identifier: Apache-2.0
"""Which servers may be named, and that no password is in any word about them."""

import pytest

from savedump_core.errors import UsageError
from savedump_core.web import url as urls


def test_parts():
    url = urls.server_url("https://user:p%40ss@[::1]:8002/debug/")
    assert (url.scheme, url.host, url.port, url.path) == ("https", "::1", 8002, "/debug")
    assert url.authorization == "Basic dXNlcjpwQHNz"
    assert url.below("/buildid/ab/executable").shown == "https://[::1]:8002/debug/buildid/ab/executable"
    assert urls.server_url("http://HOST").shown == "http://host"


@pytest.mark.parametrize(
    "text",
    [
        "", "host", "host:8002", "http:", "http://", "ftp://host", "file:///srv/debug", "http://host:x", "http://host:99999",
        "http://host/?token=secret", "http://ho st/", "http://host/\n", "http://host/\0", "http://h\xf6st/", "http://[",
        "http://user:secret@", "gopher://user:secret@host/", "http://user:secret@host:x/",
    ],
)  # fmt: skip
def test_what_is_no_server(text):
    with pytest.raises(UsageError) as caught:
        urls.server_url(text)
    assert "user:secret" not in str(caught.value)


def test_file_urls_say_where_to():
    with pytest.raises(UsageError, match="--search-path"):
        urls.server_url("file:///srv/debug")


def test_words_of_the_option():
    environ = {"DEBUGINFOD_URLS": "ima:enforcing http://b/ ima:ignore  http://c http://b/"}
    assert urls.servers(["http://a", "env", "http://c", "http://a"], environ) == (
        "http://a", "http://b/", "http://c"
    )  # fmt: skip
    assert urls.servers(["http://a"], environ) == ("http://a",)
    assert urls.servers([], environ) == ()


@pytest.mark.parametrize("environ", [{}, {"DEBUGINFOD_URLS": " "}, {"DEBUGINFOD_URLS": "ima:enforcing"}])
def test_environment_that_names_no_server(environ):
    with pytest.raises(UsageError, match="DEBUGINFOD_URLS"):
        urls.servers(["env"], environ)


def test_redirects():
    at = urls.server_url("https://user:secret@host/a").below("/buildid/ab/executable")
    assert urls.redirected(at, "/x/").shown == "https://host/x/"
    assert urls.redirected(at, "/x/").authorization == at.authorization
    for other in ("https://host:444/x", "http://host/x", "https://other/x", "https://me:mine@other/x"):
        assert urls.redirected(at, other).authorization is None
