"""Config files on disk: new ones, single changes, updates of old ones, the schema for editors."""
