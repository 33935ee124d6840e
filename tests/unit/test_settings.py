"""Settings: where they come from, what they may be, and that each is used and described."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from scripts.settings_doc import PATH, main, settings_doc
from soma_core.adapters.qdrant.words import Words
from soma_core.domain.errors import InvalidInput
from soma_core.settings import VARIABLES, load_settings
from soma_core.variables.engine import LANGUAGES

ROOT = Path(__file__).parents[2]

EACH: list[tuple[str, tuple[str, str, str], tuple[Any, Any, Any]]] = [
    ("SOMA_MEMORY_NAMESPACE", ("a", "b", "c"), ("a", "b", "c")),
    ("SOMA_EMBEDDING_MODEL", ("/a", "o/b", "/c"), ("/a", "o/b", "/c")),
    ("SOMA_EMBEDDING_BACKEND", ("remote", " Transformers ", "remote"), ("remote", "transformers", "remote")),
    (
        "SOMA_EMBEDDING_URL",
        ("http://a/v1/", " https://b:1/v1/embeddings ", "http://c"),
        ("http://a/v1", "https://b:1/v1", "http://c"),
    ),
    ("SOMA_EMBEDDING_API_KEY", ("a", " b ", "EMPTY"), ("a", "b", "EMPTY")),
    ("SOMA_EMBEDDING_DIMENSIONS", ("1", "2", "4096"), (1, 2, 4_096)),
    ("SOMA_EMBEDDING_TIMEOUT_SECONDS", ("0.5", "2", "3"), (0.5, 2.0, 3.0)),
    ("SOMA_EMBEDDING_BATCH", ("1", "2", "3"), (1, 2, 3)),
    ("SOMA_EMBEDDING_THREADS", ("1", "2", "3"), (1, 2, 3)),
    ("SOMA_LANGUAGE", ("German", " french ", "dutch"), ("german", "french", "dutch")),
    ("SOMA_DISK_RESERVE", ("1KB", "2 mb", "3"), (1 << 10, 2 << 20, 3)),
    (
        "POSTGRES_URL",
        ("postgres://a/b", " postgresql://c", "postgresql:///d"),
        ("postgres://a/b", "postgresql://c", "postgresql:///d"),
    ),
    ("POSTGRES_POOL_SIZE", ("1", "2", "1000"), (1, 2, 1_000)),
    ("KAFKA_BOOTSTRAP_SERVERS", ("a:1", "b:2, c:3", "[::1]:9092"), ("a:1", "b:2,c:3", "[::1]:9092")),
    ("KAFKA_SECURITY_PROTOCOL", ("ssl", "SASL_SSL", "sasl_plaintext"), ("SSL", "SASL_SSL", "SASL_PLAINTEXT")),
]


@pytest.mark.parametrize(("name", "given", "parsed"), EACH)
def test_an_argument_goes_before_the_environment_before_the_file_before_the_default(
    tmp_path: Path, name: str, given: tuple[str, str, str], parsed: tuple[Any, Any, Any]
) -> None:
    field = VARIABLES[name].field
    default = getattr(load_settings({}, home=tmp_path), field)
    (tmp_path / "soma.toml").write_text(f'{name} = "{given[2]}"\n')
    assert getattr(load_settings({}, home=tmp_path), field) == parsed[2]
    assert getattr(load_settings({name: given[1]}, home=tmp_path), field) == parsed[1]
    assert getattr(load_settings({name: given[1]}, home=tmp_path, **{field: given[0]}), field) == parsed[0]
    assert default not in parsed


def test_the_folder_comes_from_argument_or_environment_and_the_file_is_read_there(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, name in ((a, "from a"), (b, "from b")):
        folder.mkdir()
        (folder / "soma.toml").write_text(f'SOMA_MEMORY_NAMESPACE = "{name}"')
    assert load_settings({"SOMA_HOME": str(b)}).namespace == "from b"
    found = load_settings({"SOMA_HOME": str(b)}, home=a)
    assert (found.home, found.namespace) == (a, "from a")


def test_without_any_setting_there_are_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = load_settings({})
    assert (found.namespace, found.language, found.disk_reserve) == ("api_ns", "english", 256 << 20)
    assert found.embedding_model is None
    assert found.home.is_absolute()
    assert found.home.name == "soma"


def test_the_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOMA_HOME", str(tmp_path))
    monkeypatch.setenv("SOMA_MEMORY_NAMESPACE", "from outside")
    assert load_settings().namespace == "from outside"


def test_a_key_comes_from_a_file_unless_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-from-a-file\n")
    given = {"SOMA_HOME": str(tmp_path), "SOMA_EMBEDDING_API_KEY_FILE": str(file)}
    assert load_settings(given).embedding_key == "sk-from-a-file"
    assert load_settings(given | {"SOMA_EMBEDDING_API_KEY": "sk"}).embedding_key == "sk"


@pytest.mark.parametrize(
    ("in_file", "given", "field"),
    [
        ('SOMA_API_TOKEN = "the token of the file"', "SOMA_API_TOKEN_FILE", "api_token"),
        ('SOMA_EMBEDDING_API_KEY = "sk-of-the-file"', "SOMA_EMBEDDING_API_KEY_FILE", "embedding_key"),
    ],
)
def test_a_secret_file_of_the_environment_goes_before_a_secret_in_the_file(
    tmp_path: Path, in_file: str, given: str, field: str
) -> None:
    (tmp_path / "soma.toml").write_text(in_file)
    (tmp_path / "secret").write_text("sk-of-the-environment")
    assert getattr(load_settings({given: str(tmp_path / "secret")}, home=tmp_path), field) == "sk-of-the-environment"


@pytest.mark.parametrize(("name", "scheme"), [("QDRANT", "http"), ("REDIS", "redis")])
def test_a_server_of_the_environment_goes_before_that_of_the_file_however_it_is_named(
    tmp_path: Path, name: str, scheme: str
) -> None:
    url, host = f"{name.lower()}_url", f"{name.lower()}_host"
    (tmp_path / "soma.toml").write_text(f'{name}_URL = "{scheme}://file"')
    found = load_settings({f"{name}_HOST": "environment"}, home=tmp_path)
    assert (getattr(found, url), getattr(found, host)) == (None, "environment")
    (tmp_path / "soma.toml").write_text(f'{name}_HOST = "file"')
    found = load_settings({f"{name}_URL": f"{scheme}://environment"}, home=tmp_path)
    assert (getattr(found, url), getattr(found, host)) == (f"{scheme}://environment", None)


def test_an_empty_variable_counts_as_not_given(tmp_path: Path) -> None:
    assert load_settings({"SOMA_LANGUAGE": ""}, home=tmp_path).language == "english"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings({"SOMA_HOME": "~/soma"}).home == tmp_path / "soma"


BAD = [
    ("SOMA_HOME", " "),
    ("SOMA_HOME", "x\x00y"),
    ("SOMA_HOME", "~nobody-has-this-name/soma"),
    ("SOMA_MEMORY_NAMESPACE", " "),
    ("SOMA_MEMORY_NAMESPACE", "n" * 1_025),
    ("SOMA_MEMORY_NAMESPACE", "a\ud800"),
    ("SOMA_EMBEDDING_MODEL", "\t"),
    ("SOMA_EMBEDDING_BACKEND", "openai"),
    ("SOMA_EMBEDDING_URL", "api.openai.com"),
    ("SOMA_EMBEDDING_URL", "https://user:hunter2@api.openai.com/v1"),
    ("SOMA_EMBEDDING_URL", "https://api.openai.com/v1?key=hunter2"),
    ("SOMA_EMBEDDING_API_KEY", "hunter2 hunter2"),
    ("SOMA_EMBEDDING_API_KEY", "hunter2é"),
    ("SOMA_EMBEDDING_API_KEY_FILE", "/no/such/file"),
    ("SOMA_EMBEDDING_DIMENSIONS", "0"),
    ("SOMA_EMBEDDING_DIMENSIONS", "many"),
    ("SOMA_EMBEDDING_TIMEOUT_SECONDS", "0"),
    ("SOMA_EMBEDDING_BATCH", "0"),
    ("SOMA_EMBEDDING_THREADS", "0"),
    ("UVICORN_TIMEOUT_KEEP_ALIVE", "1.5"),
    ("UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN", "0.9"),
    ("SOMA_LANGUAGE", "klingon"),
    ("SOMA_DISK_RESERVE", "plenty"),
    ("SOMA_DISK_RESERVE", "-1"),
    ("SOMA_DISK_RESERVE", "1.5GB"),
    ("SOMA_DISK_RESERVE", "1TB"),
    ("SOMA_DISK_RESERVE", "9" * 5_000),
    ("POSTGRES_URL", "mysql://u:hunter2hunter2@h/d"),
    ("POSTGRES_URL", "postgresql://u:hunter2hunter2@h/d e"),
    ("POSTGRES_POOL_SIZE", "0"),
    ("POSTGRES_POOL_SIZE", "many"),
    ("SOMA_MIGRATE_ON_START", "perhaps"),
    ("KAFKA_BOOTSTRAP_SERVERS", "kafka"),
    ("KAFKA_BOOTSTRAP_SERVERS", "kafka://h:9092"),
    ("KAFKA_BOOTSTRAP_SERVERS", ","),
    ("KAFKA_SECURITY_PROTOCOL", "TLS"),
    ("KAFKA_SASL_MECHANISM", "GSSAPI"),
    ("KAFKA_TOPIC_PREFIX", "a b"),
    ("EVENTING_ENABLED", "1"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{n} {v[:20]!r}" for n, v in BAD])
def test_a_bad_value_names_its_variable(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}") as caught:
        load_settings({"SOMA_HOME": str(tmp_path)} | {name: value})
    assert caught.value.fields == (name,)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(("name", "value"), [b for b in BAD if b[0] != "SOMA_HOME" and "\ud800" not in b[1]])
def test_a_bad_value_in_the_file_names_its_variable(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "soma.toml").write_text(f'{name} = "{value}"'.replace("\t", "\\t"))
    with pytest.raises(InvalidInput, match=name):
        load_settings({}, home=tmp_path)


@pytest.mark.parametrize(
    "content", [b"SOMA_LANGUAGE = german", b"\xff\xfe", b"[", b'SOMA_HOME = "/x"', b'SOMA_LANGAUGE = "x"']
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "soma.toml").write_bytes(content)
    with pytest.raises(InvalidInput, match=re.escape(str(tmp_path / "soma.toml"))):
        load_settings({}, home=tmp_path)


def test_a_misspelt_name_in_the_file_is_told_the_right_ones(tmp_path: Path) -> None:
    (tmp_path / "soma.toml").write_text('SOMA_LANGAUGE = "german"')
    with pytest.raises(InvalidInput, match=r"unknown SOMA_LANGAUGE; .*SOMA_LANGUAGE"):
        load_settings({}, home=tmp_path)


def test_numbers_and_letters_beyond_ascii_in_the_file_are_taken(tmp_path: Path) -> None:
    (tmp_path / "soma.toml").write_text(
        'SOMA_DISK_RESERVE = 1000\nSOMA_MEMORY_NAMESPACE = "größe 🦊"', encoding="utf-8"
    )
    found = load_settings({}, home=tmp_path)
    assert (found.disk_reserve, found.namespace) == (1_000, "größe 🦊")


@pytest.mark.parametrize(
    ("given", "eventing"),
    [
        ({}, False),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k:1"}, True),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k:1", "EVENTING_ENABLED": "false"}, False),
        ({"EVENTING_ENABLED": "true"}, False),
    ],
)
def test_changes_travel_through_kafka_when_there_is_one_and_it_is_not_switched_off(
    tmp_path: Path, given: dict[str, str], eventing: bool
) -> None:
    assert load_settings(given, home=tmp_path).eventing is eventing


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_is_read_somewhere(name: str) -> None:
    field = VARIABLES[name].field
    readers = [
        path
        for folder in ("soma_core", "soma_mcp", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "settings.py" and re.search(rf"\bsettings\.{field}\b", path.read_text(encoding="utf-8"))
    ]
    assert readers


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_is_documented(name: str) -> None:
    assert f"`{name}`" in PATH.read_text(encoding="utf-8")


def test_the_page_of_settings_is_the_one_made_from_them() -> None:
    assert PATH.read_text(encoding="utf-8") == settings_doc()
    assert main(["--check"]) == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_is_one_that_the_search_by_words_knows(language: str) -> None:
    assert Words(language).document("words").indices
