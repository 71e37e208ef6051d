"""Files that are whole or do not exist.

Promise: a file that is written here has its old content, or its new content, or does not exist,
even if the program is killed or the disk is full. What is left behind is at most NAME.new.
To read: `write_whole`.
Held to it by tests/test_survive.py and `python -m tests.kill`.
"""
import fcntl
import json
import os
from pathlib import Path

from safetensors import SafetensorError


def write_whole(path, write):
    """Call write(a path beside it), and put what was written into the place of path. Raises
    OSError if that cannot be."""
    new = Path(f"{path}.new")
    try:
        write(new)
        with open(new, "rb") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
    except SafetensorError as error:  # for example a full disk; it does not name the file
        raise OSError(f"{path}: {error}") from None
    finally:
        new.unlink(missing_ok=True)


def lock(handle, busy):
    """Keep an open file or folder from other processes, until it is closed or this one ends. Raises
    ValueError(busy) if another process has it. A file system without locks has none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(busy) from None
    except OSError:  # no locks here
        pass


def write_json(path, value):
    """Write a value as JSON, to a file that is whole or does not exist."""
    write_whole(path, lambda new: new.write_text(json.dumps(value, indent=1) + "\n"))
