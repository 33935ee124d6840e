"""Kafka, and whether changes travel through it."""

from __future__ import annotations

from collections.abc import Mapping

from soma_core.domain.validation import check_choice, check_string
from soma_core.setting_values import parse_folder, parse_prefix, parse_servers, parse_switch
from soma_core.variables.setting import Setting

EVENTING: Mapping[str, Setting] = {
    "KAFKA_BOOTSTRAP_SERVERS": Setting(
        "kafka_bootstrap_servers",
        None,
        "Brokers of a Kafka cluster, as host:port separated by commas: changes then travel to the indexers through it "
        "(docs/kafka.md). Needs POSTGRES_URL, a Qdrant server and the extra `server`.",
        parse_servers,
    ),
    "KAFKA_SECURITY_PROTOCOL": Setting(
        "kafka_security_protocol",
        "PLAINTEXT",
        "How the brokers are spoken to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
        lambda name, value: check_choice(
            name, value.strip().upper(), ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
        ),
    ),
    "KAFKA_SASL_MECHANISM": Setting(
        "kafka_sasl_mechanism",
        "PLAIN",
        "How the password is given, with a SASL protocol: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.",
        lambda name, value: check_choice(name, value.strip().upper(), ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
    ),
    "KAFKA_SASL_USERNAME": Setting(
        "kafka_sasl_username",
        None,
        "The user, with a SASL protocol.",
        lambda name, value: check_string(name, value, max_chars=1_024),
    ),
    "KAFKA_SASL_PASSWORD": Setting(
        "kafka_sasl_password",
        None,
        "The password of that user.",
        lambda name, value: check_string(name, value, max_chars=4_096),
    ),
    "KAFKA_SSL_CA_LOCATION": Setting(
        "kafka_ca",
        None,
        "A file with the certificate that signed those of the brokers. Default: those that the system trusts.",
        parse_folder,
    ),
    "KAFKA_TOPIC_PREFIX": Setting(
        "kafka_topic_prefix",
        "",
        "Stands before the names of topics and consumer groups, where several installations share a cluster.",
        parse_prefix,
    ),
    "EVENTING_ENABLED": Setting(
        "eventing_enabled",
        "true",
        "With false the brokers that are set are not used: the process that stores also indexes, as without Kafka.",
        parse_switch,
    ),
    "SKIP_SCHEMA_VALIDATION": Setting(
        "skip_schema_validation",
        "false",
        "With true the relay does not check events against their schema before it sends them.",
        parse_switch,
    ),
}
