"""The schema as the service describes it: EntityDefinitions, relationships, option sets and the CSDL document."""
