"""What tables there are: columns, option sets, lookups, states and keys, read from YAML or JSON."""

from simulator.schema.load import TABLES, Definitions, SchemaError, default_schema, read_schema, schema_of, table_from
from simulator.schema.model import Column, Kind, Lookup, Option, Schema, State, Table

__all__ = [
    "TABLES",
    "Column",
    "Definitions",
    "Kind",
    "Lookup",
    "Option",
    "Schema",
    "SchemaError",
    "State",
    "Table",
    "default_schema",
    "read_schema",
    "schema_of",
    "table_from",
]
