"""The engine room: what the seven scripts import. Nothing here imports train, eval or data."""
