"""The server that `soma serve` is, and the one that commands reach."""

from __future__ import annotations

from collections.abc import Mapping

from soma_core.domain.validation import check_choice, check_string
from soma_core.setting_values import (
    parse_integer,
    parse_list,
    parse_number,
    parse_secret,
    parse_secret_file,
    parse_switch,
    parse_url,
)
from soma_core.variables.setting import Setting

SERVING: Mapping[str, Setting] = {
    "SOMA_URL": Setting(
        "url", None, "The address of a Soma server: commands and `soma mcp` work on its memory.", parse_url
    ),
    "SOMA_API_TOKEN": Setting(
        "api_token",
        None,
        "The token that callers of `soma serve` must bring; it may do everything in the namespace of the server. "
        "With SOMA_URL the token that is brought.",
        parse_secret,
    ),
    "SOMA_API_TOKEN_FILE": Setting(
        "api_token", None, "A file that holds the token; SOMA_API_TOKEN goes first.", parse_secret_file
    ),
    "UVICORN_HOST": Setting(
        "host",
        "127.0.0.1",
        "The address `soma serve` listens on. Any other than a loopback address needs a token.",
        lambda name, value: check_string(name, value.strip(), max_chars=256),
    ),
    "UVICORN_PORT": Setting("port", "9595", "The port it listens on.", parse_integer(0, 65_535)),
    "UVICORN_WORKERS": Setting(
        "workers",
        "1",
        "How many processes serve on one port. More than one need POSTGRES_URL and QDRANT_URL.",
        parse_integer(1, 64),
    ),
    "UVICORN_TIMEOUT_KEEP_ALIVE": Setting(
        "keep_alive", "5", "Whole seconds an idle connection is kept.", parse_integer(1, 3_600)
    ),
    "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": Setting(
        "shutdown",
        "10",
        "Whole seconds that requests at work get to finish when the server is told to end.",
        parse_integer(0, 3_600),
    ),
    "SOMA_REQUEST_TIMEOUT_SECONDS": Setting(
        "request_timeout",
        "30",
        "Seconds until a request that is still at work is answered with `unavailable`. Exports and imports may take "
        "longer, but not stand still for so long.",
        parse_number(0.1, 3_600),
    ),
    "SOMA_MAX_REQUEST_BODY_MB": Setting(
        "max_body",
        "16",
        "The largest body of a request, in MB; an import may be larger.",
        lambda name, value: int(parse_number(0.001, 10_240)(name, value) * (1 << 20)),
    ),
    "SOMA_MAX_RECALLS": Setting(
        "max_recalls",
        "16",
        "How many recalls may be at work at once; others wait a moment, then get `overloaded`.",
        parse_integer(1, 1_024),
    ),
    "SOMA_RATE_LIMIT_MAX": Setting(
        "rate_limit",
        "6000",
        "How many requests of one kind (reads, writes, recalls) a caller may make in a window; 0 sets no limit.",
        parse_integer(0, 1_000_000_000),
    ),
    "SOMA_RATE_LIMIT_WINDOW_SECONDS": Setting(
        "rate_window", "60", "The window of the rate limit.", parse_number(0.1, 86_400)
    ),
    "SOMA_ALLOWED_HOSTS": Setting(
        "allowed_hosts",
        "",
        "Host names, besides loopback ones and that of SOMA_PUBLIC_URL, under which requests may come; * is any. "
        "Only checked while no token is needed.",
        parse_list,
    ),
    "SOMA_CORS_ORIGINS": Setting(
        "cors_origins", "", "Origins whose web pages may call the server, separated by commas.", parse_list
    ),
    "SOMA_PUBLIC_URL": Setting(
        "public_url", None, "The address under which clients reach the server; names the resource in OAuth.", parse_url
    ),
    "SOMA_OAUTH_ISSUER": Setting(
        "oauth_issuer", None, "The authorization server whose JWTs are taken at /mcp and the HTTP API.", parse_url
    ),
    "SOMA_OAUTH_AUDIENCE": Setting(
        "oauth_audience",
        None,
        "The audience that a JWT must name. Default: SOMA_PUBLIC_URL with /mcp.",
        lambda name, value: check_string(name, value, max_chars=2_048),
    ),
    "SOMA_OAUTH_JWKS_URL": Setting("oauth_jwks_url", None, "Where the issuer's keys are (JWKS).", parse_url),
    "SOMA_OAUTH_NAMESPACE_CLAIM": Setting(
        "oauth_namespace_claim",
        "soma_namespace",
        "The claim of a JWT that names its namespace. A JWT without it is refused.",
        lambda name, value: check_string(name, value, max_chars=256),
    ),
    "SOMA_LOG_FORMAT": Setting(
        "log_format",
        "console",
        "How `soma serve` and `soma worker` write their log: console or json.",
        lambda name, value: check_choice(name, value.strip().lower(), ("console", "json")),
    ),
    "SOMA_LOG_LEVEL": Setting(
        "log_level",
        "info",
        "The least that they write: debug, info, warning or error.",
        lambda name, value: check_choice(name, value.strip().lower(), ("debug", "info", "warning", "error")),
    ),
    "SOMA_TRACES": Setting(
        "traces",
        "false",
        "Whether `soma serve` sends OpenTelemetry traces (the extra `otel`); OTEL_EXPORTER_OTLP_ENDPOINT says where.",
        parse_switch,
    ),
}
