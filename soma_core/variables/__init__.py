"""The tables of all settings, one concern a file; `settings` reads the environment by them."""

from __future__ import annotations

from collections.abc import Mapping

from soma_core.variables.embedding import EMBEDDING
from soma_core.variables.engine import ENGINE
from soma_core.variables.eventing import EVENTING
from soma_core.variables.services import SERVICES
from soma_core.variables.serving import SERVING
from soma_core.variables.setting import Setting

VARIABLES: Mapping[str, Setting] = {**ENGINE, **EMBEDDING, **SERVICES, **EVENTING, **SERVING}
