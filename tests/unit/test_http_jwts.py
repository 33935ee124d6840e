"""JWTs at the door, with real keys that a real server publishes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from soma_core.settings import load_settings
from soma_mcp.http import jwts
from soma_mcp.sharing import SharedSoma
from tests.support.http import KeyServer, key_server, serving
from tests.unit.test_http_auth import application, code, get

ISSUER = "https://issuer.example/tenant"
AUDIENCE = "https://memory.example/mcp"
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
PSS_KEY = rsa.generate_private_key(65_537, 2_048)
WEAK_KEY = rsa.generate_private_key(65_537, 1_024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
Ask = Callable[[str], httpx2.Response]


def published() -> list[Mapping[str, Any]]:
    return [
        RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "rsa", "use": "sig"},
        RSAAlgorithm.to_jwk(PSS_KEY.public_key(), as_dict=True) | {"kid": "pss", "alg": "PS256"},
        RSAAlgorithm.to_jwk(WEAK_KEY.public_key(), as_dict=True) | {"kid": "weak"},
        ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True) | {"kid": "ec"},
        OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True) | {"kid": "ed"},
    ]


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims; None leaves one out."""
    found = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(time.time()) + 60,
        "sub": "ana",
        "scope": "openid read write",
        "soma_namespace": "team",
    } | changed
    return {name: value for name, value in found.items() if value is not None}


def signed(algorithm: str = "RS256", key: Any = RSA_KEY, kid: str | None = "rsa", **changed: Any) -> str:
    return jwt.encode(claims(**changed), key, algorithm, headers={"kid": kid} if kid else None)


@pytest.fixture
def keys() -> Iterator[KeyServer]:
    with key_server(published()) as server:
        yield server


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedSoma]:
    opened = SharedSoma(load_settings({}, home=tmp_path_factory.mktemp("jwts") / "home", disk_reserve="0"), stay=False)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def door(memory: SharedSoma) -> Iterator[Callable[[str], Ask]]:
    """Opens a door that takes JWTs by the keys at an address."""
    with ExitStack() as stack:

        def door(jwks_url: str) -> Ask:
            settings = load_settings(
                {}, home="unused", oauth_issuer=ISSUER, oauth_jwks_url=jwks_url, public_url="https://memory.example"
            )
            url = stack.enter_context(serving(application(settings, memory)))
            return lambda token: get(f"{url}/whoami", token)

        yield door


@pytest.fixture
def ask(door: Callable[[str], Ask], keys: KeyServer) -> Ask:
    return door(keys.url)


@pytest.fixture(scope="module")
def standing(door: Callable[[str], Ask]) -> Iterator[Ask]:
    """A door for tests that change nothing about the keys."""
    with key_server(published()) as server:
        yield door(server.url)


def test_a_good_jwt_is_bound_to_the_namespace_and_scopes_that_it_claims(ask: Ask, keys: KeyServer) -> None:
    for _ in range(3):
        assert ask(signed(jti=str(time.time()))).json() == ["team", ["read", "write"], "oauth:ana"]
    assert keys.fetches == 1


@pytest.mark.parametrize(
    ("algorithm", "key", "kid"),
    [("RS256", RSA_KEY, "rsa"), ("PS256", PSS_KEY, "pss"), ("ES256", EC_KEY, "ec"), ("EdDSA", ED_KEY, "ed")],
)
def test_every_allowed_algorithm_works(standing: Ask, algorithm: str, key: Any, kid: str) -> None:
    assert standing(signed(algorithm, key, kid)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "scopes"),
    [
        ({"scope": "admin unknown"}, ["admin"]),
        ({"scope": None, "scp": ["read"]}, ["read"]),
        ({"scope": None, "scp": "write"}, ["write"]),
        ({"scope": None}, []),
        ({"scope": ""}, []),
        ({"scope": "reader,write"}, []),
    ],
)
def test_only_scopes_of_soma_count(standing: Ask, changed: dict[str, Any], scopes: list[str]) -> None:
    assert standing(signed(**changed)).json() == ["team", scopes, "oauth:ana"]


def test_an_audience_among_several_and_an_issuer_that_ends_in_a_slash_are_good(standing: Ask) -> None:
    assert standing(signed(aud=["other", AUDIENCE], iss=f"{ISSUER}/")).status_code == 200


def test_a_clock_of_the_issuer_that_is_a_little_ahead_does_no_harm(standing: Ask) -> None:
    assert standing(signed(iat=int(time.time()) + 3, nbf=int(time.time()) + 3)).status_code == 200


def test_what_a_subject_is_called_does_no_harm(standing: Ask) -> None:
    assert standing(signed(sub="\ud800\n" + "x" * 500)).json()[2].startswith("oauth:\\ud800")


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], secret: bytes = b"") -> str:
    signing = f"{part(header)}.{part(claims())}"
    signature = hmac.new(secret, signing.encode(), hashlib.sha256).digest() if secret else b""
    return f"{signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def public_key(encoding: Encoding, format: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return RSA_KEY.public_key().public_bytes(encoding, format)


BAD: dict[str, Callable[[], str]] = {
    "wrong audience": lambda: signed(aud="https://other.example/mcp"),
    "audience of another path": lambda: signed(aud="https://memory.example"),
    "no audience": lambda: signed(aud=None),
    "wrong issuer": lambda: signed(iss="https://evil.example"),
    "issuer with a longer path": lambda: signed(iss=f"{ISSUER}2"),
    "no issuer": lambda: signed(iss=None),
    "expired": lambda: signed(exp=int(time.time()) - 30),
    "never expires": lambda: signed(exp=None),
    "an expiry that is no number": lambda: signed(exp="soon"),
    "an endless expiry": lambda: signed(exp=10**30),
    "not yet": lambda: signed(nbf=int(time.time()) + 60),
    "no namespace claim": lambda: signed(soma_namespace=None),
    "a blank namespace": lambda: signed(soma_namespace=" "),
    "a namespace that is no string": lambda: signed(soma_namespace=["team"]),
    "scopes that are a number": lambda: signed(scope=5),
    "alg none": lambda: jwt.encode(claims(), "", "none", headers={"kid": "rsa"}),
    "alg None without signature": lambda: by_hand({"alg": "None", "kid": "rsa"}),
    "HS256 with the public key": lambda: by_hand({"alg": "HS256", "kid": "rsa"}, public_key(Encoding.PEM)),
    "HS256 with the public key as DER": lambda: by_hand({"alg": "HS256", "kid": "rsa"}, public_key(Encoding.DER)),
    "RS256 that is an HMAC": lambda: by_hand({"alg": "RS256", "kid": "rsa"}, public_key(Encoding.PEM)),
    "RS512, which is not allowed": lambda: signed("RS512"),
    "another algorithm than the key's": lambda: signed("PS256"),
    "an EC key under the name of an RSA key": lambda: signed("ES256", EC_KEY, "rsa"),
    "a key of 1,024 bits": lambda: signed(key=WEAK_KEY, kid="weak"),
    "another key under the right name": lambda: signed(key=PSS_KEY),
    "unknown kid": lambda: signed(kid="unknown"),
    "no kid": lambda: signed(kid=None),
    "a kid that is no string": lambda: by_hand({"alg": "RS256", "kid": 5}),
    "its own key": lambda: by_hand({"alg": "RS256", "jwk": {"kty": "oct", "k": "AA"}, "kid": "jwk"}),
    "an unknown critical header": lambda: jwt.encode(
        claims(), RSA_KEY, "RS256", headers={"kid": "rsa", "crit": ["x"], "x": 1}
    ),
    "cut signature": lambda: signed()[:-8],
    "no signature": lambda: signed().rpartition(".")[0] + ".",
    "other claims under the signature": lambda: ".".join(
        (signed().split(".")[0], part(claims(soma_namespace="other")), signed().split(".")[2])
    ),
    "no JWT": lambda: "a.b.c",
    "empty parts": lambda: "..",
    "deep nesting": lambda: f"{base64.urlsafe_b64encode(b'[' * 20_000).decode()}.e30.",
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # of the test, which signs with one
@pytest.mark.parametrize("bad", BAD)
def test_a_jwt_that_is_not_good_is_refused(standing: Ask, bad: str) -> None:
    answer = standing(BAD[bad]())
    assert code(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_unknown_keys_do_not_make_the_server_fetch_again_and_again(ask: Ask, keys: KeyServer) -> None:
    for n in range(10):
        assert ask(signed(kid=f"unknown-{n}")).status_code == 401
    assert keys.fetches == 1


def test_junk_makes_the_server_fetch_nothing(ask: Ask, keys: KeyServer) -> None:
    for token in ("a.b.c", BAD["alg none"](), BAD["HS256 with the public key"](), BAD["no kid"]()):
        assert ask(token).status_code == 401
    assert keys.fetches == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b"down"), (200, b"<html>"), (200, b"[]"), (200, b'{"keys": []}'), (200, b"\xff"), (302, b"")],
)
def test_keys_that_cannot_be_fetched_are_no_fault_of_the_caller(
    ask: Ask, keys: KeyServer, status: int, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwts, "PAUSE_SECONDS", 0.5)
    good = keys.body
    keys.status, keys.body = status, body
    for _ in range(5):
        answer = ask(signed())
        assert code(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert keys.fetches == 1
    keys.status, keys.body = 200, good
    time.sleep(0.5)
    assert ask(signed()).status_code == 200


def test_an_issuer_that_hangs_or_is_gone_is_reported_in_time(
    door: Callable[[str], Ask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwts, "FETCH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/jwks"
        hangs, started = door(url), time.monotonic()
        assert code(hangs(signed())) == (503, "unavailable")
        assert 0.3 <= time.monotonic() - started < 2
    assert code(door(url)(signed())) == (503, "unavailable")


def test_keys_that_were_fetched_are_good_while_the_issuer_is_gone(ask: Ask, keys: KeyServer) -> None:
    assert ask(signed()).status_code == 200
    keys.status = 500
    assert ask(signed(jti="another")).status_code == 200
    assert ask(signed(kid="unknown")).status_code == 401
