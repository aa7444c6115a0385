"""How to log in to a guest that is not of our own."""

from pathlib import Path

import paramiko
import pytest

from fastballoon_cli.errors import PreconditionError, UsageError
from fastballoon_cli.guest import ssh
from fastballoon_cli.guest.keys import make_key_pair
from fastballoon_cli.guest.login import Login, parse

_FILES = {"key": Path("key"), "known_hosts": Path("known_hosts")}


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("10.0.0.1", "root", "10.0.0.1", 22),
        ("root@web:2222", "root", "web", 2222),
        ("me@[fd00::1]", "me", "fd00::1", 22),
        ("[fd00::1]:23", "root", "fd00::1", 23),
    ],
)
def test_it_is_written_as_for_ssh(text, user, host, port):
    assert parse(text, **_FILES) == Login(user=user, host=host, port=port, **_FILES)


@pytest.mark.parametrize("text", ["", "@host", "a@b@c", "host:", "host:x", "fd00::1", "a b"])
def test_what_is_no_login_is_said(text):
    with pytest.raises(UsageError, match="no way to log in"):
        parse(text, **_FILES)


def test_a_host_key_is_looked_up_as_openssh_does(tmp_path):
    known = tmp_path / "known_hosts"
    make_key_pair(tmp_path / "host", known, prefix="[web]:2222 ")
    login = Login(host="web", port=2222, key=tmp_path / "none", known_hosts=known)
    assert ssh._host_key(login) == paramiko.PKey.from_path(tmp_path / "host")
    with pytest.raises(PreconditionError, match="the host key of web is not in"):
        ssh._host_key(Login(host="web", key=tmp_path / "none", known_hosts=known))
    with pytest.raises(PreconditionError, match="cannot read the private key"):
        ssh.connect(login, timeout=1)
    with pytest.raises(PreconditionError, match=r"cannot read .*nowhere"):
        ssh._host_key(Login(host="web", key=tmp_path / "none", known_hosts=tmp_path / "nowhere"))
