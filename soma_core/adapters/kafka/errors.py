"""From the driver's errors to Soma's. No message holds a password."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from soma_core.adapters.kafka.address import Address
from soma_core.domain.errors import InvalidInput, SomaError, Unavailable

log = logging.getLogger(__name__)

SETTING = "KAFKA_BOOTSTRAP_SERVERS"
QUIET_SECONDS = 30
"""The driver says of each broker, at each attempt, that it is away."""
NOT_ALLOWED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


class Complaints:
    """What the driver says of a connection while it goes on trying: logged now and then, the telling part kept."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._logged: dict[int, float] = {}
        self.telling: KafkaError | None = None
        """The last that says what is wrong: all else says only that no broker is left."""

    def __call__(self, error: KafkaError) -> None:
        code = error.code()
        if code != KafkaError._ALL_BROKERS_DOWN:
            self.telling = error
        if time.monotonic() - self._logged.get(code, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._logged[code] = time.monotonic()
            log.log(logging.INFO if code == KafkaError._ALL_BROKERS_DOWN else logging.WARNING, "%s", self._said(error))

    def _said(self, error: KafkaError) -> str:
        return f"Kafka at {self._address.servers}: {said(error)}"


def said(error: KafkaError) -> str:
    """What the driver said, on one line; its messages name host and user, never the password."""
    return " ".join(error.str().split())


def hopeless(error: KafkaError | None) -> bool:
    """Whether trying again cannot help, as things are set."""
    if error is None:
        return False
    refused = error.code() in {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL}
    return refused or "SSL handshake failed" in error.str() or error.code() in NOT_ALLOWED


def starting_failed(error: KafkaError, address: Address) -> SomaError:
    """Why there is no connection, and what to do."""
    text = said(error)
    if error.code() in NOT_ALLOWED:
        message = f"KAFKA_SASL_USERNAME: {address.servers}: {text}: let the user describe, make, read and write topics"
        return InvalidInput(message, fields=("KAFKA_SASL_USERNAME",))
    if "SSL" in text or error.code() == KafkaError._SSL:
        fields = ("KAFKA_SSL_CA_LOCATION", "KAFKA_SECURITY_PROTOCOL")
        todo = "name the certificate that signed the brokers', and the protocol of that port"
        return InvalidInput(f"{fields[0]}: no connection to {address.servers}: {text}: {todo}", fields=fields)
    if hopeless(error):
        fields = ("KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
        shown = f"{address.servers} as {address.user} with {address.mechanism}"
        message = f"KAFKA_SASL_PASSWORD: {shown}: {text}: check user, password and KAFKA_SASL_MECHANISM"
        return InvalidInput(message, fields=fields)
    message = f"{SETTING}: no connection to {address.servers}: {text}: "
    message += f"are there brokers, reachable from here, that speak {address.protocol} (KAFKA_SECURITY_PROTOCOL)?"
    return Unavailable(message, fields=(SETTING,), retry_after=2)


@contextmanager
def translated(what: str, address: Address) -> Iterator[None]:
    """Turn a failure of a call into `Unavailable`."""
    try:
        yield
    except KafkaException as error:
        raise failed(what, address, error.args[0]) from error


def failed(what: str, address: Address, error: KafkaError) -> Unavailable:
    """What a failed call means: the same may succeed later."""
    return Unavailable(f"{what}: Kafka at {address.servers} does not do it: {said(error)}", retry_after=2)
