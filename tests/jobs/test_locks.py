"""Processes that take turns: a lock's file comes and goes, and never are two of them inside."""

import subprocess
import sys

CODE = """
import os, sys
from pathlib import Path
from geograph_types.jobs import locked
out = Path(sys.argv[1])
for turn in range(300):
    with locked(out, wait_s=-1):
        os.close(os.open(out.with_name("inside"), os.O_CREAT | os.O_EXCL))  # fails if somebody else is
        count = int(out.read_text())
        out.write_text(str(count + 1))
        out.with_name("inside").unlink()
"""


def test_many_take_turns(tmp_path):
    out = tmp_path / "out"
    out.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", CODE, str(out)]) for _ in range(4)]
    assert [process.wait(100) for process in processes] == [0] * 4
    assert out.read_text() == "1200"
    assert list(tmp_path.iterdir()) == [out]
