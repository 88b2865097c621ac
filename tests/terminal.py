"""What a command draws in a terminal of 80 columns."""

import os
import pty
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("geograph-types")


def in_terminal(*words: object) -> str:
    """Standard output of a command that is connected to a terminal; it has to end with 0."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *map(str, words)],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "80", "TERM": "dumb"},
    )
    os.close(theirs)
    drawn = b""
    while chunk := _read(ours):
        drawn += chunk
    stderr = process.communicate(timeout=300)[1]
    assert process.returncode == 0, stderr.decode()
    return drawn.decode().replace("\r", "")


def _read(terminal: int) -> bytes:
    """What has been drawn since; nothing once the other end is closed."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""
