"""Bad input gets the same answer at every door, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import McpClient, Server, Shell, error_of, mcp_client, server, text_of
from tests.support.queries import LONG, ODD


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


BIG = "x" * 65_537
WIDE = "é" * 32_769
"""Over 64 KB in UTF-8, though not in characters."""

# What is wrong, the fields of the memory, the field that must be named, a part of the message, the code.
BAD: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "an empty text": ({"text": ""}, "text", "empty", "invalid_input"),
    "a blank text": ({"text": " \t\n\u2003"}, "text", "white space", "invalid_input"),
    "a text over 64 KB": ({"text": BIG}, "text", "65536", "invalid_input"),
    "a text over 64 KB in bytes only": ({"text": WIDE}, "text", "65536", "invalid_input"),
    "a date that does not exist": ({"occurred_at": "2026-02-30"}, "occurred_at", "ISO 8601", "invalid_input"),
    "a date in words": ({"occurred_at": "yesterday"}, "occurred_at", "ISO 8601", "invalid_input"),
    "an empty date": ({"occurred_at": ""}, "occurred_at", "ISO 8601", "invalid_input"),
    "an unknown type": ({"type": "dream"}, "type", "episodic, semantic, procedural", "invalid_input"),
    "300 tags": ({"tags": [f"t{n}" for n in range(300)]}, "tags", "64", "invalid_input"),
    "a blank tag": ({"tags": ["good", " "]}, "tags[1]", "blank", "invalid_input"),
    "a long tag": ({"tags": ["t" * 257]}, "tags[0]", "256", "invalid_input"),
    "an empty thread": ({"thread": ""}, "thread", "empty", "invalid_input"),
    "a long speaker": ({"speaker": "s" * 257}, "speaker", "256", "invalid_input"),
    "a payload that is a list": ({"payload": [1]}, "payload", "", "invalid_input"),
    "a payload that is a word": ({"payload": "word"}, "payload", "", "invalid_input"),
    "a payload that nests 100 deep": ({"payload": nested(100)}, "payload", "32", "invalid_input"),
    "a payload over 64 KB": ({"payload": {"a": BIG}}, "payload", "65536", "invalid_input"),
    "an importance over 1": ({"importance": 1.01}, "importance", "from 0 to 1", "invalid_input"),
    "an importance under 0": ({"importance": -1}, "importance", "from 0 to 1", "invalid_input"),
    "an empty coordinate": ({"coordinate": ""}, "coordinate", "1 to 8", "bad_coordinate"),
    "a coordinate with a gap": ({"coordinate": "1,,2"}, "coordinate", "1 to 8", "bad_coordinate"),
    "a coordinate that is no number": ({"coordinate": "nan,0,0"}, "coordinate", "finite", "bad_coordinate"),
    "an infinite coordinate": ({"coordinate": "1e999,0"}, "coordinate", "finite", "bad_coordinate"),
    "a coordinate of nine numbers": ({"coordinate": "1,2,3,4,5,6,7,8,9"}, "coordinate", "1 to 8", "bad_coordinate"),
}
NUL: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "NUL in the text": ({"text": "a\0b"}, "text", "U+0000", "invalid_input"),
    "NUL in a tag": ({"tags": ["a\0"]}, "tags[0]", "U+0000", "invalid_input"),
    "NUL in a payload": ({"payload": {"a": ["\0"]}}, "payload", "U+0000", "invalid_input"),
}
OPTIONS = {"tags": "--tag", "occurred_at": "--occurred-at"}


def check(error: dict[str, Any], field: str, part: str, code: str) -> None:
    """The error names the field and the limit."""
    assert error["code"] == code
    assert part in error["message"]
    assert any(found.startswith(field) for found in error["fields"]), error
    assert error["message"].startswith(field.partition("[")[0])
    assert len(error["message"]) < 400


def flags(memory: dict[str, Any]) -> list[str]:
    """A memory as arguments of `soma store`."""
    args = []
    for name, value in memory.items():
        for each in value if isinstance(value, list) and name == "tags" else [value]:
            word = json.dumps(each) if name == "payload" else str(each)
            if name != "text":
                args.append(f"{OPTIONS.get(name, '--' + name)}={word}")
    return args


# MCP


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpClient]:
    with mcp_client(tmp_path_factory.mktemp("bad") / "home") as client:
        yield client


def assert_nothing_was_stored(client: McpClient) -> None:
    """The server answers, and the memory is as empty as it was."""
    counts = client.ok("status")["counts"]
    assert (counts["live"], counts["forgotten"], counts["purged"]) == (0, 0, 0)
    assert client.ok("browse")["memories"] == []


@pytest.mark.parametrize("what", [*BAD, *NUL])
def test_a_tool_refuses_it_naming_field_and_limit_and_stores_nothing(client: McpClient, what: str) -> None:
    memory, field, part, code = (BAD | NUL)[what]

    check(client.refused("store", **({"text": "fine"} | memory)), field, part, code)

    assert_nothing_was_stored(client)


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        ({"text": "x", "bogus": 1}, "bogus"),
        ({"text": "x", "namespace": "other"}, "namespace"),
        ({}, "text"),
        ({"text": 5}, "text"),
        ({"text": None}, "text"),
        ({"text": ["x"]}, "text"),
        ({"text": "x", "tags": "red"}, "tags"),
        ({"text": "x", "tags": [1]}, "tags"),
        ({"text": "x", "type": 7}, "type"),
        ({"text": "x", "thread": 7}, "thread"),
        ({"text": "x", "importance": "high"}, "importance"),
        ({"text": "x", "importance": True}, "importance"),
        ({"text": "x", "occurred_at": 1789000000}, "occurred_at"),
        ({"text": "x", "check": "perhaps"}, "check"),
        ({"text": "x", "key": ""}, "key"),
        ({"text": "x", "key": "k" * 257}, "key"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else value,
)
def test_a_wrong_or_unknown_argument_of_store_is_named(client: McpClient, memory: dict[str, Any], field: str) -> None:
    error = client.refused("store", **memory)

    assert error["code"] == "invalid_input"
    assert field in error["message"]
    assert error["fields"][0].startswith(field)
    assert_nothing_was_stored(client)


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("recall", {"query": ""}, "query"),
        ("recall", {"query": "  "}, "query"),
        ("recall", {"query": "a\0"}, "query"),
        ("recall", {}, "query"),
        ("recall", {"query": "x", "limit": 0}, "limit"),
        ("recall", {"query": "x", "limit": 101}, "limit"),
        ("recall", {"query": "x", "limit": -1}, "limit"),
        ("recall", {"query": "x", "limit": 1.5}, "limit"),
        ("recall", {"query": "x", "limit": "many"}, "limit"),
        ("recall", {"query": "x", "max_tokens": 0}, "max_tokens"),
        ("recall", {"query": "x", "order": "random"}, "order"),
        ("recall", {"query": "x", "since_cursor": ""}, "since_cursor"),
        ("recall", {"query": "x", "since_cursor": "nonsense"}, "since_cursor"),
        ("recall", {"query": "x", "since_cursor": "AAAAAAAA"}, "since_cursor"),
        ("recall", {"query": "x", "since_cursor": "A" * 2_000}, "since_cursor"),
        ("recall", {"query": "x", "since_cursor": 5}, "since_cursor"),
        ("recall", {"query": "x", "types": ["dream"]}, "types"),
        ("recall", {"query": "x", "types": "episodic"}, "types"),
        ("recall", {"query": "x", "tags": ["t"] * 65}, "tags"),
        ("recall", {"query": "x", "since": "soon"}, "since"),
        ("recall", {"query": "x", "until": "2026-13-01"}, "until"),
        ("recall", {"query": "x", "since": "2026-02-01", "until": "2026-01-01"}, "since"),
        ("recall", {"query": "x", "depth": 3}, "depth"),
        ("browse", {"limit": 0}, "limit"),
        ("browse", {"limit": 101}, "limit"),
        ("browse", {"order": "score"}, "order"),
        ("browse", {"cursor": "nonsense"}, "cursor"),
        ("browse", {"cursor": ""}, "cursor"),
        ("get", {"ids": []}, "ids"),
        ("get", {"ids": ["x"]}, "ids"),
        ("get", {"ids": "x"}, "ids"),
        ("get", {"ids": ["00000000dead"] * 1001}, "ids"),
        ("get", {}, "ids"),
        ("forget", {"ids": ["x"]}, "ids"),
        ("forget", {"before": "soon"}, "before"),
        ("forget", {"thread": "x", "reason": "r" * 1001}, "reason"),
        ("forget", {"thread": "x", "types": ["semantic"]}, "types"),
        ("status", {"verbose": True}, "verbose"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else value,
)
def test_every_tool_names_the_argument_that_is_wrong(
    client: McpClient, tool: str, arguments: dict[str, Any], field: str
) -> None:
    error = client.refused(tool, **arguments)

    assert error["code"] == "invalid_input"
    assert field in error["message"]
    assert error["fields"][0].startswith(field)
    assert client.ok("status")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpClient]:
    """A server that has something to find, its model loaded."""
    with mcp_client(tmp_path_factory.mktemp("odd") / "home") as client:
        client.many("store", [{"text": f"The zebra {n} is here", "speaker": "Ana"} for n in range(12)])
        client.until_embedded()
        yield client


@pytest.mark.parametrize("what", ODD)
def test_an_odd_question_is_answered_by_a_tool(asked: McpClient, what: str) -> None:
    found = asked.ok("recall", query=ODD[what])

    assert found["degraded"] == []
    assert len(found["hits"]) == 10


def test_a_question_of_ten_thousand_words_is_cut_and_the_answer_says_so(asked: McpClient) -> None:
    result = asked.call("recall", query=LONG)

    assert result.structured_content is not None
    assert len(result.structured_content["hits"]) == 10
    assert "(degraded: query: only its first 2000 words were used)" in text_of(result)


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": "The limit itself: " + "x" * (65_536 - 18)},
        {"text": "thimble", "tags": [f"t{n}" for n in range(64)]},
        {"text": "thimble", "payload": nested(32)},
        {"text": "thimble", "importance": 0},
        {"text": "thimble", "importance": 1},
        {"text": "thimble", "coordinate": "1,2,3,4,5,6,7,8"},
        {"text": "thimble", "coordinate": "-1e-7"},
        {"text": "thimble", "occurred_at": "0001-01-01"},
        {"text": "thimble", "occurred_at": "9999-12-31T23:59:59Z"},
        {"text": "thimble", "thread": "t" * 256},
        {"text": "thimble a\u200bb \u202e\x07 \ufeff\uffff 👩‍👩‍👧"},
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_lies_just_within_the_limits_is_stored_whole(client: McpClient, arguments: dict[str, Any]) -> None:
    stored = client.ok("store", **arguments)
    (memory,) = client.ok("get", ids=[stored["id"]])["memories"]

    assert memory["text"] == arguments["text"]
    assert memory["payload"] == arguments.get("payload", {})
    assert client.ok("recall", query=arguments["text"][:200], max_tokens=100_000)["hits"]
    client.ok("forget", ids=[stored["id"]], purge=True)
    assert client.ok("status")["counts"]["live"] == 0


# The wire itself


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("wire") / "home") as wire:
        wire.handshake()
        yield wire


@pytest.fixture(autouse=True)
def _the_wire_stays_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test on the wire the server answers, and nothing was stored."""
    yield
    if "wire" in request.fixturenames:
        found = request.getfixturevalue("wire").ok("status", {})
        assert found["counts"] == {
            "live": 0,
            "forgotten": 0,
            "purged": 0,
            "types": {"episodic": 0, "semantic": 0, "procedural": 0},
        }


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("store", r'{"text":"a\ud800b"}', "text"),
        ("store", r'{"text":"\udc00"}', "text"),
        ("store", r'{"text":"x","tags":["ok","\ud83d"]}', "tags"),
        ("store", r'{"text":"x","thread":"\ud800"}', "thread"),
        ("store", r'{"text":"x","payload":{"a":{"b":["\udfff"]}}}', "payload"),
        ("store", r'{"text":"x","payload":{"\ud800":1}}', "payload"),
        ("recall", r'{"query":"\ud800"}', "query"),
        ("get", r'{"ids":["\ud800"]}', "ids"),
        ("forget", r'{"reason":"\ud800","thread":"x"}', "reason"),
        ("browse", r'{"speaker":"\udbff"}', "speaker"),
    ],
)
def test_a_lone_surrogate_is_answered_with_the_field_that_holds_it(
    wire: Server, tool: str, arguments: str, field: str
) -> None:
    error = error_of(wire.call_with(tool, arguments))

    assert error["code"] == "invalid_input"
    assert error["fields"][0].startswith(field)
    assert field in error["message"]
    assert "surrogate" in error["message"]


def test_an_unknown_argument_with_a_lone_surrogate_in_its_name_is_answered(wire: Server) -> None:
    assert error_of(wire.call_with("store", r'{"text":"x","\ud800":1}'))["code"] == "invalid_input"


def test_nul_is_answered_with_the_field_that_holds_it(wire: Server) -> None:
    error = error_of(wire.call_with("store", r'{"text":"a\u0000b"}'))

    check(error, "text", "U+0000", "invalid_input")


@pytest.mark.parametrize("depth", [33, 100, 190, 210, 300, 5_000, 100_000])
def test_a_payload_that_nests_too_deep_is_answered_however_deep_it_is(wire: Server, depth: int) -> None:
    payload = '{"a":' * depth + "1" + "}" * depth

    line = wire.request(
        "tools/call", f'{{"name":"store","arguments":{{"text":"x","payload":{payload}}}}}', 7_000 + depth
    )
    if depth > 500:  # more than a parser bears: refused as a message, if need be
        wire.send(line)
        wire.ok("status", {})
        answers = [json.loads(found) for found in wire.lines]
        refused = [found for found in answers if found.get("id") in (None, 7_000 + depth) and "method" not in found]
        assert refused
        assert "error" in refused[-1] or refused[-1]["result"]["isError"]
    else:
        check(error_of(wire.ask_line(line, 7_000 + depth)["result"]), "payload", "32", "invalid_input")


@pytest.mark.parametrize(
    "line",
    ["this is no JSON", "{", '{"jsonrpc":"2.0","id":1,', "\x00", '{"a":NaN', "[" * 100_000],
    ids=lambda line: line[:30],
)
def test_a_line_that_is_no_json_is_answered_with_a_parse_error(wire: Server, line: str) -> None:
    answer = wire.ask_line(line, None)

    assert answer["error"]["code"] == -32700
    assert "id" in answer


@pytest.mark.parametrize("line", ["", "   ", "\r"])
def test_an_empty_line_is_passed_over(wire: Server, line: str) -> None:
    before = len(wire.lines)
    wire.send(line)
    wire.ok("status", {})

    assert len(wire.lines) == before + 1


@pytest.mark.parametrize("line", ["[]", "5", '"word"', "null", "{}", '{"jsonrpc":"2.0"}', '{"id":[1],"method":3}'])
def test_json_that_is_no_message_does_not_stop_the_server(wire: Server, line: str) -> None:
    wire.send(line)

    assert wire.ok("status", {})


def test_lines_that_are_no_utf8_are_answered_and_the_server_stays(home: Path) -> None:
    params = b'{"name":"store","arguments":{"text":"caf\xe9"}}'
    line = b'{"jsonrpc":"2.0","id":9001,"method":"tools/call","params":' + params + b"}"
    with server(home) as wire:
        wire.handshake()
        refused = wire.ask_line(line, 9001, seconds=5)
        noise = wire.ask_line(b"\xff\xfe\x00", None, seconds=5)
        status = wire.ok("status", {})

    error = error_of(refused["result"])
    assert error["code"] == "invalid_input"
    assert error["fields"] == ["text"]
    assert noise["error"]["code"] == -32700
    assert status["counts"]["live"] == 0


def test_an_unknown_tool_and_an_unknown_method_are_answered(wire: Server) -> None:
    tool = wire.ask("tools/call", {"name": "dream", "arguments": {}})
    method = wire.ask("memories/dream", {})

    assert "error" in tool or tool["result"]["isError"]
    assert method["error"]["code"] == -32601


# The command line


@pytest.fixture(scope="module")
def bad_shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell") / "home")


@pytest.mark.parametrize("what", BAD)
def test_the_command_line_refuses_it_naming_field_and_limit(bad_shell: Shell, what: str) -> None:
    memory, field, part, code = BAD[what]
    text = memory.get("text", "fine")

    error = bad_shell.refusal_here("store", "-", *flags(memory), stdin=text)

    check(error, field, part, code)
    assert not bad_shell.home.exists()


@pytest.mark.parametrize(
    ("args", "field", "code"),
    [
        (["store", ""], "text", "invalid_input"),
        (["store", b"a\xffb"], "text", "invalid_input"),
        (["store", "x", "--payload", "{not json"], "payload", "invalid_input"),
        (["store", "x", "--payload", '{"a":"\\ud800"}'], "payload", "invalid_input"),
        (["store", "x", "--payload", "[" * 100_000], "payload", "invalid_input"),
        (["store", "x", "--importance", "nan"], "importance", "invalid_input"),
        (["store", "x", "--key", ""], "key", "invalid_input"),
        (["recall", " "], "query", "invalid_input"),
        (["recall", "x", "--limit", "0"], "limit", "invalid_input"),
        (["recall", "x", "--max-tokens", "0"], "max_tokens", "invalid_input"),
        (["recall", "x", "--order", "random"], "order", "invalid_input"),
        (["recall", "x", "--type", "dream"], "types", "invalid_input"),
        (["browse", "--since", "soon"], "since", "invalid_input"),
        (["get", "x"], "ids", "invalid_input"),
        (["forget", "--yes"], "ids", "invalid_input"),
        (["forget", "--before", "soon", "--yes"], "before", "invalid_input"),
        (["store-bulk", "/no/such/file"], "file", "invalid_input"),
        (["stats", "--namespace", "n" * 1025], "SOMA_MEMORY_NAMESPACE", "invalid_input"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_command_names_what_is_wrong_in_one_line(home: Path, args: list[str | bytes], field: str, code: str) -> None:
    error = Shell(home).refusal_here(*args)

    assert error["code"] == code
    assert error["fields"][0].startswith(field)


def test_a_refusal_is_one_line_for_people_and_one_for_programs(shell: Shell) -> None:
    assert shell.complaint("store", "x", "--type", "dream") == (
        "soma: invalid_input: type: is 'dream', must be one of episodic, semantic, procedural"
    )
    assert shell.refusal("store", "-", "--coordinate", "1,,2", stdin="x")["code"] == "bad_coordinate"
    assert shell.refusal("store", b"a\xffb")["fields"] == ["text"]


def test_standard_input_that_is_no_utf8_is_refused(shell: Shell) -> None:
    assert "text: is not UTF-8" in shell.complaint("store", "-", stdin=b"caf\xe9")


def test_nul_on_standard_input_is_refused(shell: Shell) -> None:
    assert "text: holds the character U+0000" in shell.complaint("store", "-", stdin=b"a\0b")


# Files of JSON lines


def bad_lines() -> list[tuple[str, str, str, str]]:
    """Lines with the field, a part of the message and the code of their refusal."""
    cases = [
        (json.dumps({"text": "fine"} | memory), field, part, code) for memory, field, part, code in (BAD | NUL).values()
    ]
    return [
        *cases,
        (r'{"text":"\ud800"}', "text", "U+D800", "invalid_input"),
        (r'{"text":"x","payload":{"a":"\udfff"}}', "payload", "U+DFFF", "invalid_input"),
        ('{"text":"x","bogus":1}', "bogus", "unknown field", "invalid_input"),
        ('{"text":"x","key":"k"}', "key", "unknown field", "invalid_input"),
        ('{"tags":["x"]}', "text", "string", "invalid_input"),
        ('{"text":5}', "text", "string", "invalid_input"),
        ('{"text":"x","tags":"red"}', "tags", "list", "invalid_input"),
        ('{"text":"x","importance":NaN}', "importance", "from 0 to 1", "invalid_input"),
        ("no json", "line", "is no JSON", "invalid_input"),
        ("[1]", "line", "JSON object", "invalid_input"),
        ("null", "line", "JSON object", "invalid_input"),
        ('{"text":"x","payload":' + '{"a":' * 300 + "1" + "}" * 301, "payload", "32", "invalid_input"),
        ("[" * 100_000, "line", "", "invalid_input"),
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in which every odd line is good, and the others are not."""
    file = tmp_path_factory.mktemp("mixed") / "mixed.jsonl"
    rows: list[str] = []
    for number, (line, *_) in enumerate(bad_lines()):
        rows += [json.dumps({"text": f"Good line {number}."}), line]
    file.write_text("\n".join(rows) + "\n")
    return file


def test_a_file_keeps_its_good_lines_and_names_each_bad_one_with_its_number(shell: Shell, mixed: Path) -> None:
    cases = bad_lines()

    done = shell.json("store-bulk", str(mixed), "--no-wait", status=1)

    assert done["stored"] == len(cases)
    assert [problem["line"] for problem in done["refused"]] == [2 * n + 2 for n in range(len(cases))]
    for problem, (_, field, part, code) in zip(done["refused"], cases, strict=True):
        assert problem["code"] == code
        assert part in problem["message"]
        assert problem["fields"][0].startswith(field)
    kept = [memory["text"] for memory in shell.json("browse", "--limit", "100")["memories"]]
    assert sorted(kept) == sorted(f"Good line {n}." for n in range(len(cases)))


def test_a_file_is_stored_whole_or_not_at_all_with_atomic(shell: Shell, mixed: Path, tmp_path: Path) -> None:
    refused = shell.run("store-bulk", str(mixed), "--atomic", status=1)
    assert b"nothing was stored" in refused.stdout
    assert refused.stderr.decode("utf-8", "replace").splitlines()[0].startswith("line 2: text")
    assert shell.json("stats")["counts"]["live"] == 0

    good = tmp_path / "good.jsonl"
    good.write_text('{"text":"One."}\n\n{"text":"Two."}')
    assert shell.json("store-bulk", str(good), "--atomic") == {"stored": 2, "refused": []}
    assert shell.json("stats")["counts"]["live"] == 2


def test_a_line_that_is_no_utf8_is_named(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "latin.jsonl"
    file.write_bytes(b'{"text":"fine"}\n{"text":"caf\xe9"}\n')

    done = shell.json("store-bulk", str(file), "--no-wait", status=1)

    assert done["stored"] == 1
    assert [(found["line"], found["code"]) for found in done["refused"]] == [(2, "invalid_input")]


def test_a_field_whose_name_is_a_lone_surrogate_is_refused_for_programs_too(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "surrogate.jsonl"
    file.write_text('{"text":"fine"}\n{"text":"x","\\ud800":1}\n')

    done = shell.json("store-bulk", str(file), "--no-wait", status=1)

    assert done["stored"] == 1
    assert [(found["line"], found["code"]) for found in done["refused"]] == [(2, "invalid_input")]
