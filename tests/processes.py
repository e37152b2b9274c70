"""Processes of their own, for what is settled when a process starts: the number of devices, hosts, workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax

ROOT = Path(__file__).parent.parent

LIMIT = 240
"""Seconds; a tenth of it is needed, where no one else is at work."""

TAKEN = "address already in use", "failed to add port"
"""What JAX's coordinator says of a port that someone else has."""


def launched(log, command, folder=ROOT, devices=1):
    """Python with this command line in ``folder``, on as many simulated devices; what it says goes to ``log``."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    seen = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    quick = str(int(jax.config.read("jax_disable_most_optimizations")))
    environment = dict(
        os.environ,
        XLA_FLAGS=flags,
        JAX_DISABLE_MOST_OPTIMIZATIONS=quick,
        JAX_PLATFORMS="cpu",
        PYTHONPATH=seen,
    )
    said = open(log, "w+", encoding="utf-8")  # noqa: SIM115 - closed by `finished`
    line = [sys.executable, *map(str, command)]
    return subprocess.Popen(line, cwd=folder, env=environment, stdout=said, stderr=said), said


def finished(started):
    """Wait for all of them, or until one fails, and end the others: whether all went well, and what they said."""
    deadline = time.monotonic() + LIMIT
    try:
        codes = [None]
        while None in codes and not any(codes) and time.monotonic() < deadline:
            time.sleep(0.05)
            codes = [process.poll() for process, _ in started]
    finally:
        texts = [_ended(*pair) for pair in started]
    return all(code == 0 for code in codes), "\n".join(texts)


def _ended(process, log):
    process.kill()
    process.wait()
    with log:
        log.seek(0)
        return log.read()


def paired(launch):
    """Two hosts, ``launch(port, number)`` each; once more where another took the port before they did."""
    for last in (False, True):
        port = _free_port()
        well, said = finished([launch(port, number) for number in (0, 1)])
        if well or last or not any(words in said.lower() for words in TAKEN):
            break
    return well, said


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def printed(command, home):
    """What a Python with this command line prints, ``home`` among the places it imports from."""
    seen = os.pathsep.join([os.environ.get("PYTHONPATH", ""), home])
    line = [sys.executable, *map(str, command)]
    done = subprocess.run(
        line, env=os.environ | {"PYTHONPATH": seen}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
