"""Where the brokers are and how they are spoken to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soma_core.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Address:
    """A cluster, as the settings name it; shown without the password."""

    servers: str
    """host:port, separated by commas."""
    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    prefix: str = ""
    """Stands before the names of topics and groups."""

    def options(self) -> dict[str, Any]:
        """The same for the driver. Raises `InvalidInput` when a part is missing."""
        options: dict[str, Any] = {"bootstrap.servers": self.servers, "security.protocol": self.protocol}
        if "SASL" in self.protocol:
            options |= {"sasl.mechanism": self.mechanism} | self._user()
        if "SSL" in self.protocol and self.ca:
            if not self.ca.is_file():
                raise InvalidInput(
                    f"KAFKA_SSL_CA_LOCATION: there is no file {self.ca}: name the certificate that signed the brokers'",
                    fields=("KAFKA_SSL_CA_LOCATION",),
                )
            options["ssl.ca.location"] = str(self.ca)
        return options

    def _user(self) -> dict[str, str]:
        given = {"KAFKA_SASL_USERNAME": self.user, "KAFKA_SASL_PASSWORD": self.password}
        missing = tuple(name for name, value in given.items() if not value)
        if missing or not (self.user and self.password):
            message = f"{', '.join(missing)}: must be set, as KAFKA_SECURITY_PROTOCOL is {self.protocol}"
            raise InvalidInput(message, fields=missing)
        return {"sasl.username": self.user, "sasl.password": self.password}
