"""The command line in a process of its own, with no VM, no cache and no configuration of the user's."""

import json
import os
import sys

import pytest
from jsonschema import Draft202012Validator

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.many import ManyResult
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import DropCacheResult, MoveResult
from fastballoon_cli.results.schema import result_schema
from tests import forked
from tests.unit import fake_libvirt

_SECONDS = 60


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """The folder of running VMs, for this process and all that it starts; nor are the user's domains looked for."""
    folder = tmp_path / "run"
    monkeypatch.setenv("FASTBALLOON_RUNTIME", str(folder))
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)
    return folder


@pytest.fixture
def environment(runtime, tmp_path):
    """What the tool finds in its environment: nothing of the user's, and folders of its own."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("FASTBALLOON")},
        "FASTBALLOON_RUNTIME": str(runtime),
        "FASTBALLOON_CACHE": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def fastballoon(environment):
    """Run the tool: ``fastballoon("vm", "list", VARIABLE="value")``."""

    def call(*arguments, **more):
        return forked.run(arguments, environment | more, timeout=_SECONDS)

    return call


@pytest.fixture
def binding(monkeypatch, tmp_path):
    """A libvirt that is made up, in the place of the real one's binding."""
    made = fake_libvirt.Binding(tmp_path / "said")
    monkeypatch.setitem(sys.modules, "libvirt", made)
    monkeypatch.setitem(sys.modules, "libvirt_qemu", made.qemu)
    return made


@pytest.fixture
def daemon(binding):
    """Its daemon of this host."""
    return binding.daemon(fake_libvirt.URI)


@pytest.fixture
def web(daemon):
    """A domain of that, as a distribution's virt-install makes one."""
    made = fake_libvirt.Domain(daemon, "web")
    daemon.domains.append(made)
    return made


@pytest.fixture(scope="session")
def keeps_to_schema():
    """Check a document against the schema of Results."""
    return Draft202012Validator(result_schema()).validate


@pytest.fixture(scope="session", autouse=True)
def every_document_keeps_to_the_schema(keeps_to_schema):
    """Check whatever any test has a result say, in processes that are forked as well."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (BenchResult, MoveResult, DropCacheResult, MigrateResult, ManyResult):
            patch.setattr(kind, "document", _checked(kind.document, keeps_to_schema))
        yield


def _checked(document, check):
    def checked(result):
        made = document(result)
        # Lists and tuples are one thing in JSON.
        check(json.loads(json.dumps(made)))
        return made

    return checked
