"""Tables of an organization of one's own, from what its Web API says about them: `$metadata`, or table definitions.

I1 What a file does not say is not made up: it is left out or unchecked, and named in the report.
"""

from simulator.schema.imports.merge import Imported, read_files

__all__ = ["Imported", "read_files"]
