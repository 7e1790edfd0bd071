"""Both commands of the README on a Debian that has Python, make and git and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("debootstrap"), reason="needs root and debootstrap: apt-get install it"
)
def test_demo_and_tests_run_on_a_bare_debian() -> None:
    script = Path(__file__).with_name("debian.sh")
    done = subprocess.run([script, "demo", "test"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout[-5000:])
    assert re.findall(r"^make (\w+): exit status (\d)", done.stdout, re.MULTILINE) == [
        ("demo", "0"),
        ("test", "0"),
    ]
