"""`soma eval` on a small set, through the real engine and the packaged model."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from soma_core.domain.measures import MEASURES
from soma_core.domain.scoring import STEPS
from tests.e2e.clients import ROOT, SOMA, Shell, environment, wait_until

TEXTS = [
    ("m0", "Ana", "The bakery on Mill Street closes at noon on Saturdays."),
    ("m1", "Ben", "Where did you leave the spare key?"),
    ("m2", "Ana", "It hangs behind the blue door in the cellar."),
    ("m3", "Ben", "My dentist moved the appointment to the ninth of March."),
    ("m4", "Ana", "I am learning to play the cello since last autumn."),
    ("m5", "Ben", "Our cat Mitzi is afraid of the vacuum cleaner."),
    ("m6", "Ana", "The train to Graz was two hours late again."),
    ("m7", "Ben", "I sold the old motorbike to my cousin Paul."),
    ("m8", "Ana", "We painted the kitchen yellow in June."),
    ("m9", "Ben", "The tomatoes got blight because of the wet summer."),
    ("m10", "Ana", "Grandmother's recipe needs eight eggs and a lot of patience."),
    ("m11", "Ben", "The router must be restarted when the light turns red."),
]
ASKED = [
    ("When does the bakery close?", ["m0"], "facts"),
    ("Which instrument does Ana learn?", ["m4"], "facts"),
    ("Who bought the motorbike?", ["m7"], "facts"),
    ("What happened in the garden and in the kitchen?", ["m8", "m9"], "several"),
    ("Where did Ana leave the spare key?", ["m2"], "several"),
]


def small_set(*, memories: int = len(TEXTS)) -> dict[str, Any]:
    listed = [
        {"ref": ref, "text": text, "speaker": speaker, "thread": "talk", "position": place, "occurred_at": "2026-03-01"}
        for place, (ref, speaker, text) in enumerate(TEXTS)
    ]
    listed += [{"ref": f"more{n}", "text": f"Entry {n} of a long list of numbers {n * n}."} for n in range(memories)]
    questions = [{"query": query, "relevant": refs, "category": category} for query, refs, category in ASKED]
    first = {"id": "talk", "memories": listed[:memories], "questions": questions}
    second = {"id": "rain", "memories": [{"ref": "only", "text": "It rains in Bergen."}],
              "questions": [{"query": "Where does it rain?", "relevant": ["only"], "category": "facts"}]}  # fmt: skip
    return {"name": "small", "licence": "none", "conversations": [first, second]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("eval")


@pytest.fixture(scope="module")
def set_file(folder: Path) -> str:
    path = folder / "small.json"
    path.write_text(json.dumps(small_set()))
    return str(path)


@pytest.fixture(scope="module")
def result(folder: Path, set_file: str) -> tuple[str, dict[str, Any], Path]:
    """What a run printed, the JSON that it wrote, and that file."""
    temporary, output = folder / "temporary", folder / "result.json"
    temporary.mkdir()
    shell = Shell(folder / "home", TMPDIR=str(temporary))
    printed = shell.text("eval", set_file, "--ablate", "--leave-out", "several", "--output", str(output))
    assert list(temporary.glob("soma-*")) == []
    assert not shell.home.exists()
    return printed, json.loads(output.read_text()), output


def test_every_question_is_asked_among_the_memories_of_its_conversation(result: Any) -> None:
    _, report, _ = result
    asked = report["questions"]

    assert [question["query"] for question in asked] == [*(query for query, _, _ in ASKED), "Where does it rain?"]
    assert all(set(question["ranking"]) <= {ref for ref, _, _ in TEXTS} for question in asked[:-1])
    assert asked[-1]["ranking"] == ["only"]
    assert report["set"] | {"sha256": ""} == {
        "name": "small", "sha256": "", "conversations": 2, "memories": 13, "questions": 6,
    }  # fmt: skip
    assert report["notes"] == []


def test_the_figures_are_those_of_the_rankings(result: Any) -> None:
    _, report, _ = result
    for name, group in {"pooled": None, "facts": "facts", "several": "several"}.items():
        figures = report["figures"]["pooled"] if group is None else report["figures"]["categories"][name]
        asked = [q for q in report["questions"] if group in (None, q["category"])]
        assert figures["n"] == len(asked)
        for measure, score in MEASURES.items():
            values = [score(question["ranking"], question["relevant"]) for question in asked]
            assert figures[measure]["value"] == pytest.approx(sum(values) / len(values), abs=1e-5)
            assert figures[measure]["low"] <= figures[measure]["value"] <= figures[measure]["high"]
    categories = report["figures"]["categories"]
    mean = (categories["facts"]["recall@10"]["value"] + categories["several"]["recall@10"]["value"]) / 2
    assert report["figures"]["mean_of_categories"]["recall@10"]["value"] == pytest.approx(mean, abs=1e-5)
    assert report["figures"]["without_left_out"] == categories["facts"]
    assert report["figures"]["pooled"]["recall@5"]["value"] > 0.8


def test_the_default_answer_and_its_costs_are_measured(result: Any) -> None:
    _, report, _ = result
    for question in report["questions"]:
        assert question["answer"] == question["ranking"][: len(question["answer"])]
        assert 0 < question["tokens"] <= 2_000
        assert question["seconds"] > question["embed_seconds"] > 0
        assert question["seconds"] - question["embed_seconds"] > question["search_seconds"] > 0
    assert report["answer"]["max_tokens"] == 2_000
    assert report["answer"]["tokens"]["max"] == max(question["tokens"] for question in report["questions"])
    times = report["milliseconds"]
    assert times["answer"]["p99"] >= times["answer"]["p50"] > times["ranking"]["p50"] > 0
    assert report["model"] == "bge-small-en-v1.5:int8"
    assert report["settings"]["SOMA_LANGUAGE"] == "english"
    assert (report["settings"]["SOMA_SPARSE_MODEL"], report["settings"]["SOMA_RERANKER_MODEL"]) == (None, None)


def test_no_server_that_the_settings_name_is_written_to(folder: Path, set_file: str) -> None:
    away = "127.0.0.1:9"
    servers = {"POSTGRES_URL": f"postgresql://{away}/soma", "QDRANT_URL": f"http://{away}", "QDRANT_HOST": "127.0.0.1",
               "REDIS_URL": f"redis://{away}", "REDIS_HOST": "127.0.0.1", "KAFKA_BOOTSTRAP_SERVERS": away}  # fmt: skip
    assert Shell(folder / "home", **servers).json("eval", set_file)["notes"] == []


def test_every_step_of_ranking_is_left_out_once(result: Any) -> None:
    printed, report, _ = result
    assert tuple(report["ablation"]) == STEPS
    assert all(f"\n{step} " in printed for step in STEPS)
    kept = report["figures"]["without_left_out"]["ndcg@10"]["value"]
    moved = {step: found["changes"]["ndcg@10"]["change"] for step, found in report["ablation"].items()}
    for step, found in report["ablation"].items():
        assert found["figures"]["ndcg@10"] == pytest.approx(kept + moved[step], abs=2e-5)
    several = {step: found["categories"]["several"]["mrr@10"] for step, found in report["ablation"].items()}
    whole = report["figures"]["categories"]["several"]["mrr@10"]["value"]
    assert several["answers"] < whole == several["recency"]


def test_the_table_has_a_row_for_every_group(result: Any) -> None:
    printed, _, _ = result
    rows = [line[:26].strip() for line in printed.splitlines()]
    for label in ("all questions", "without several", "mean of categories", "facts", "several", "95 % interval"):
        assert label in rows
    assert "2 conversations, 13 memories, 6 questions" in printed


def test_two_results_are_compared_question_by_question(result: Any, folder: Path) -> None:
    _, report, output = result
    worse = json.loads(output.read_text())
    for question in worse["questions"]:
        question["ranking"].reverse()
    other = folder / "worse.json"
    other.write_text(json.dumps(worse))
    shell = Shell(folder / "home")

    same = shell.json("eval", "--compare", str(output), str(output))
    assert {found["change"] for found in same["pooled"].values()} == {0}
    assert {found["p"] for found in same["pooled"].values()} == {1}

    found = shell.json("eval", "--compare", str(output), str(other), "--leave-out", "several")
    assert found["n"] == 4
    assert found["pooled"]["mrr@10"]["before"] == report["figures"]["categories"]["facts"]["mrr@10"]["value"]
    assert found["pooled"]["mrr@10"]["change"] < 0
    assert found["categories"]["several"]["n"] == 2
    assert "MRR@10" in shell.text("eval", "--compare", str(output), str(other))


def test_results_of_different_questions_are_not_compared(result: Any, folder: Path) -> None:
    _, _, output = result
    other = json.loads(output.read_text())
    other["questions"][3]["query"] = "something else"
    fewer = json.loads(output.read_text())
    fewer["questions"].pop()
    for number, report in enumerate((other, fewer)):
        path = folder / f"different{number}.json"
        path.write_text(json.dumps(report))
        refused = Shell(folder / "home").refusal_here("eval", "--compare", str(output), str(path))
        assert refused["code"] == "invalid_input"
        assert "was measured on other questions" in refused["message"]


def test_what_is_no_result_is_not_compared(result: Any, folder: Path, set_file: str) -> None:
    _, _, output = result
    broken = json.loads(output.read_text())
    broken["questions"][2]["ranking"] = "m0"
    path = folder / "broken.json"
    path.write_text(json.dumps(broken))
    shell = Shell(folder / "home")

    assert "is no result of `soma eval" in shell.refusal_here("eval", "--compare", str(output), set_file)["message"]
    message = shell.refusal_here("eval", "--compare", str(output), str(path))["message"]
    assert message == f"{path}: questions[2].ranking: must be a list of at least 0 strings"


def test_a_set_is_made_of_ones_own_memories_and_marks_and_can_be_measured(home: Path, tmp_path: Path) -> None:
    shell = Shell(home)
    lines: list[dict[str, Any]] = [
        {"text": text, "speaker": speaker, "thread": "talk", "occurred_at": f"2026-03-{day:02}"}
        for day, (_, speaker, text) in enumerate(TEXTS, 1)
    ]
    lines[4] |= {"type": "semantic", "importance": 0.9, "tags": ["music"]}
    shell.json("store-bulk", "-", "--namespace", "mine", stdin="\n".join(map(json.dumps, lines)))
    ids = [found["id"] for found in shell.json("browse", "--namespace", "mine", "--order", "oldest")["memories"]]
    marks, made = tmp_path / "marks.jsonl", tmp_path / "mine.json"
    marks.write_text(
        json.dumps({"query": "Which instrument does Ana learn?", "relevant": [ids[4]], "category": "hobbies"})
        + "\n\n"
        + json.dumps({"query": "Where is the key?", "relevant": [ids[1][-12:], ids[2], ids[2][-12:]]})
    )

    said = shell.text("eval", "--from-namespace", "mine", "--marks", str(marks), "--output", str(made))
    assert said == f"12 memories and 2 questions written to {made}\n"
    found = json.loads(made.read_text())
    assert json.loads(shell.text("eval", "--from-namespace", "mine", "--marks", str(marks))) == found
    conversation = found["conversations"][0]
    assert [memory["text"] for memory in conversation["memories"]] == [text for _, _, text in TEXTS]
    assert [memory["position"] for memory in conversation["memories"]] == list(range(12))
    assert {conversation["memories"][4][name] for name in ("type", "importance")} == {"semantic", 0.9}
    assert [question["relevant"] for question in conversation["questions"]] == [[ids[4]], [ids[1], ids[2]]]
    assert [question["category"] for question in conversation["questions"]] == ["hobbies", None]

    report = shell.json("eval", str(made))
    assert report["figures"]["pooled"]["recall@10"]["value"] == 1
    assert set(report["figures"]["categories"]) == {"hobbies", "uncategorised"}
    assert shell.json("stats", "--namespace", "mine")["counts"]["live"] == 12


def test_marks_are_refused_naming_line_and_field(shell: Shell, tmp_path: Path) -> None:
    known = shell.json("store", "Owls sleep by day.")["id"]
    marks = tmp_path / "marks.jsonl"
    good = json.dumps({"query": "owls?", "relevant": [known]})

    def refused(text: str, namespace: str = "api_ns") -> dict[str, Any]:
        marks.write_text(text)
        return shell.refusal_here("eval", "--from-namespace", namespace, "--marks", str(marks))

    unknown = refused(good + "\n" + json.dumps({"query": "owls?", "relevant": [known, "0123456789ab"]}))
    assert unknown["message"] == "line 2: relevant[1]: no memory of the namespace has the id 0123456789ab"
    assert unknown["fields"] == ["relevant[1]"]
    assert refused(good + "\n{")["message"].startswith("line 2: mark: is no JSON")
    assert refused('{"relevant": ["x"]}')["message"].startswith("line 1: query: ")
    assert refused("\n")["message"].startswith("marks: ")
    assert refused(good, "elsewhere")["fields"] == ["from_namespace"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "set"),
        ("\x00", "set"),
        ("[" * 100_000, "set"),
        ("[]", "the set"),
        (json.dumps({"name": "x", "conversations": []}), "conversations"),
        (json.dumps(small_set()).replace('"query": "Who bought the motorbike?"', '"asked": 1'),
         "conversations[0].questions[2].query"),
        (json.dumps(small_set()).replace('["only"]', '["nobody"]'), "conversations[1].questions[0].relevant[0]"),
        (json.dumps(small_set()).replace('"ref": "m3"', '"ref": "m2"'), "conversations[0].memories[3].ref"),
    ],
)  # fmt: skip
def test_a_wrong_set_is_refused_before_anything_is_stored(shell: Shell, text: str, field: str) -> None:
    refused = shell.refusal_here("eval", "-", stdin=text)
    assert refused["code"] == "invalid_input"
    assert refused["fields"] == [field]
    assert not shell.home.exists()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--leave-out", "nothing"], "leave_out"),
        (["--leave-out", "facts", "--leave-out", "several"], "leave_out"),
        (["--output", "/there/is/no/such/folder/x.json"], "output"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_stored(
    shell: Shell, set_file: str, options: list[str], field: str
) -> None:
    assert shell.refusal_here("eval", set_file, *options)["fields"] == [field]


def test_a_result_that_cannot_be_written_is_shown_all_the_same(shell: Shell, result: Any) -> None:
    _, _, output = result
    full = shell.run("eval", "--compare", str(output), str(output), "--output", "/dev/full", status=1)
    assert b"MRR@10" in full.stdout
    assert full.stderr.startswith(b"soma: invalid_input: output: /dev/full cannot be written")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["x.json", "--compare", "a.json", "b.json"],
        ["--from-namespace", "x"],
        ["x.json", "--marks", "y"],
        ["--ablate", "--compare", "a.json", "b.json"],
        ["--from-namespace", "x", "--marks", "y", "--leave-out", "z"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(shell: Shell, options: list[str]) -> None:
    assert b"Usage: " in shell.run("eval", *options, status=2).stderr


def test_a_server_elsewhere_is_no_place_to_measure(shell: Shell, set_file: str) -> None:
    assert "SOMA_URL" in shell.complaint("eval", set_file, SOMA_URL="http://localhost:1")


def test_a_text_over_64_kb_is_cut_and_the_result_says_so(shell: Shell, tmp_path: Path) -> None:
    found = small_set()
    found["conversations"] = found["conversations"][1:]
    found["conversations"][0]["memories"].append({"ref": "long", "text": "It snows. " * 7_000})
    path = tmp_path / "long.json"
    path.write_text(json.dumps(found))
    assert "note: rain: the text of long was cut to the 64 KB" in shell.text("eval", str(path))


@pytest.mark.parametrize("moment", ["opening", "embedding"])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    path, temporary = tmp_path / "set.json", tmp_path / "temporary"
    path.write_text(json.dumps(small_set(memories=3_000)))
    temporary.mkdir()
    command = [*SOMA, "eval", str(path)]
    settings = environment(tmp_path / "home", TMPDIR=str(temporary))
    with subprocess.Popen(command, env=settings, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wanted = "soma-eval-*" if moment == "opening" else "soma-eval-*/index/*"
        wait_until(lambda: list(temporary.glob(wanted)), what="the throw-away folder")
        if moment == "embedding":
            time.sleep(0.7)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert (out, err) == (b"", b"\nAborted!\n")
    assert list(temporary.glob("soma-*")) == []
