import io
import json

from guest_agent.__main__ import VERBS, answer, serve
from guest_agent.memory import _fill


def ask(line, verbs):
    said = []
    answer(line, verbs, said.append)
    return said


def test_answers_carry_the_requests_id():
    verbs = {"add": lambda progress, a, b: a + b}
    assert ask('{"id": 7, "verb": "add", "arguments": {"a": 1, "b": 2}}', verbs) == [{"id": 7, "result": 3}]


def test_progress_comes_before_the_answer():
    def work(progress):
        progress(1)
        progress(2)
        return "done"

    said = ask('{"id": 1, "verb": "work"}', {"work": work})
    assert said == [{"id": 1, "progress": 1}, {"id": 1, "progress": 2}, {"id": 1, "result": "done"}]


def test_a_bad_request_gets_an_answer_and_stops_nothing():
    requests = io.StringIO(
        'nonsense\n[]\n{"id": 1, "verb": "no-such"}\n{"id": 2, "verb": "vmstat", "arguments": {"x": 1}}\n'
    )
    answers = io.StringIO()
    serve(requests, answers)
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [message["id"] for message in said] == [None, None, None, 2]
    assert all("error" in message for message in said)


def test_there_is_no_way_to_run_a_command():
    assert set(VERBS) == {"hello", "memory", "balloon", "vmstat", "kernel_warnings", "compact", "touch"}


def test_filling_reads_back_what_it_wrote():
    said = []
    _fill(64 << 20, True, said.append)
    assert said == [f"filled {64 << 20}", "mismatches 0"]
