"""The topics and their settings: the one place that says how they are made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewTopic, ResourceType

from soma_core.ports.stream import Topic

log = logging.getLogger(__name__)

ASK_SECONDS = 5
REPLICAS = 3
"""As many brokers have each message, or all there are when there are fewer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a topic is made where it is missing."""

    partitions: int
    """At most so many members of a group share the work."""
    config: Mapping[str, str] = field(default_factory=dict)


PLANS: Mapping[Topic, Plan] = {
    Topic.EVENTS: Plan(12, {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * 3_600_000)}),
    Topic.DEAD_LETTERS: Plan(1, {"cleanup.policy": "compact"}),
}


def ensure_topics(admin: AdminClient, prefix: str, cluster: ClusterMetadata) -> None:
    """Make the topics that are missing; say where one that is there differs, and leave it. Raises `KafkaException`."""
    missing = [topic for topic in Topic if prefix + topic not in cluster.topics]
    wanted = [_new_topic(topic, prefix, len(cluster.brokers)) for topic in missing]
    for name, future in admin.create_topics(wanted, request_timeout=ASK_SECONDS).items() if wanted else ():
        try:
            future.result()
            log.info("made the topic %s", name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    for topic in set(Topic) - set(missing):
        for difference in _differences(admin, topic, prefix, cluster):
            log.warning("the topic %s%s %s; it is left as it is", prefix, topic, difference)


def _new_topic(topic: Topic, prefix: str, brokers: int) -> NewTopic:
    replicas = min(REPLICAS, brokers)
    config = {**PLANS[topic].config, "min.insync.replicas": str(max(1, replicas - 1))}
    return NewTopic(prefix + topic, PLANS[topic].partitions, replicas, config=config)


def _differences(admin: AdminClient, topic: Topic, prefix: str, cluster: ClusterMetadata) -> list[str]:
    plan = PLANS[topic]
    found = (
        []
        if (has := len(cluster.topics[prefix + topic].partitions)) == plan.partitions
        else [f"has {has} partitions where Soma makes {plan.partitions}"]
    )
    resource = ConfigResource(ResourceType.TOPIC, prefix + topic)
    try:
        held = admin.describe_configs([resource], request_timeout=ASK_SECONDS)[resource].result()
    except KafkaException as error:
        log.info("the settings of %s%s cannot be read: %s", prefix, topic, error.args[0].str())
        return found
    for name, value in plan.config.items():
        if (entry := held.get(name)) and entry.value != value:
            found.append(f"has {name}={entry.value} where Soma makes {value}")
    return found
