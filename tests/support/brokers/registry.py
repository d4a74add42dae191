"""What a test holds of a real schema registry."""

import secrets
from dataclasses import dataclass

from confluent_kafka.schema_registry import SchemaRegistryClient


@dataclass
class RealRegistry:
    """A registry that all tests of a run share. So every test takes subjects with names of its own."""

    url: str
    source: str

    def __post_init__(self) -> None:
        self.client = SchemaRegistryClient({"url": self.url})

    def unique(self, stem: str) -> str:
        """A name for a subject that no other test has."""
        return f"{stem}-{secrets.token_hex(4)}"

    def set_compatibility(self, subject: str, level: str = "FULL_TRANSITIVE") -> None:
        """Of one subject; Apicurio compares nothing until it is told to."""
        self.client.set_compatibility(subject_name=subject, level=level)
