"""OData query options: parsed here, evaluated on rows and on metadata."""
