"""Commands of a build."""

from pathlib import Path

import pytest

from fastballoon_cli.build.job import job
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Silent


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "cache"))


@pytest.mark.timeout(10)
def test_orphans_of_a_command_are_reaped_while_it_runs() -> None:
    """fakeroot waits until its daemon is gone, which an unreaped one never is."""
    script = (
        "pid=$(sh -c 'sleep 0.2 >/dev/null & echo $!'); while kill -0 $pid 2>/dev/null; do sleep 0.05; done; echo gone"
    )
    with job("x", "building x", Silent(), need_bytes=0) as work:
        assert work.run(["sh", "-c", script]) == "gone\n"


def test_environment_of_the_user_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSS_COMPILE", "arm-")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    with job("x", "building x", Silent(), need_bytes=0) as work:
        assert work.run(["sh", "-c", "echo ${CROSS_COMPILE-unset} ${GIT_DIR-unset}"]) == "unset unset\n"


def test_failure_names_the_command_and_the_log(tmp_path: Path) -> None:
    with (
        pytest.raises(BuildError, match="exit 7 from: sh -c 'echo why; exit 7'") as error,
        job("x", "building thing-fast", Silent(), need_bytes=0) as work,
    ):
        work.run(["sh", "-c", "echo why; exit 7"])
    log = tmp_path / "cache/logs/thing-fast.log"
    assert "why" in (error.value.details or "")
    assert str(log) in (error.value.details or "")
    assert "why" in log.read_text()
