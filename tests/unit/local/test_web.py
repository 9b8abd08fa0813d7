"""The page's server gives its own files to its own page, and nothing else to anybody."""

from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local.deploy import Stack
from local.processes import free_port
from local.stack_file import write_stack_file
from local.web import serving_web


def stack() -> Stack:
    """One that is deployed nowhere."""
    cloud = SimpleNamespace(endpoint="http://127.0.0.1:4566")
    return Stack(cast("Any", cloud), "im", "v1", {"ApiId": "abc"}, "s" * 64)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    page = tmp_path / "web"
    page.mkdir()
    (page / "index.html").write_text("<p>hello</p>")
    (page / "notes.txt").write_text("not for the page")
    (tmp_path / "secret.json").write_text("{}")
    chosen = free_port()
    with serving_web(chosen, stack(), page):
        yield chosen


def get(port: int, path: str, host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def test_it_serves_the_page_with_its_policy_and_the_configuration(port: int) -> None:
    status, body, headers = get(port, "/")
    assert (status, body) == (200, b"<p>hello</p>")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")

    configuration = json.loads(get(port, "/config.json")[1])
    assert configuration["websocket"] == "ws://127.0.0.1:4566/_aws/execute-api/abc/v1"
    assert [user["id"] for user in configuration["users"]] == ["alice", "bob", "carol", "dave"]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.json",
        "/%2e%2e/secret.json",
        "/..%2fsecret.json",
        "/notes.txt",
        "/nothing.js",
        "//etc/hostname",
        "/%00",
    ],
)
def test_it_serves_nothing_but_the_files_of_the_page(port: int, path: str) -> None:
    assert get(port, path)[0] == 404


def test_a_page_of_another_name_cannot_read_the_tokens(port: int) -> None:
    status, body, _ = get(port, "/config.json", host=f"evil.example:{port}")

    assert (status, body) == (421, b"")


def test_the_stack_file_is_for_its_owner_alone_and_has_what_clients_need(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"

    write_stack_file(path, stack(), "http://127.0.0.1:8080")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "websocket": "ws://127.0.0.1:4566/_aws/execute-api/abc/v1",
        "http": "http://127.0.0.1:4566/_aws/execute-api/abc/v1",
        "web": "http://127.0.0.1:8080",
        "endpoint": "http://127.0.0.1:4566",
        "region": "us-east-1",
        "stack": "im",
        "jwt": {"alg": "HS256", "secret": "s" * 64},
    }
