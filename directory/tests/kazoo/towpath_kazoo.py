"""Runs kazoo's own tests against a directory: a pytest plugin.

kazoo's harness always starts Java servers. This replaces the one function that does, so that the
tests meet the program in TOWPATH_SERVE instead. What asks to stop single servers of a cluster is
skipped, since there is one.
"""

import atexit
import os
import shutil
import subprocess
import tempfile

import kazoo.testing.harness
import pytest

SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


class Server:
    def __init__(self):
        self.data = tempfile.mkdtemp(prefix="towpath-kazoo-")
        self.process = subprocess.Popen(
            [os.environ["TOWPATH_SERVE"], self.data, "127.0.0.1:0", SUPER_DIGEST],
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._end)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("the directory did not start")
        self.running = True

    @property
    def secure_address(self):
        pytest.skip("TLS is tested in Rust")

    def _refuse(self):
        pytest.skip("stops a server of a cluster; there is one")

    run = stop = destroy = _refuse

    def _end(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.data, ignore_errors=True)


class Cluster(list):
    def start(self):
        pass

    def terminate(self):
        pass

    def get_logs(self):
        return []

    def get_ssl_client_configuration(self):
        pytest.skip("TLS is tested in Rust")


_cluster = None


def get_global_cluster():
    global _cluster
    if _cluster is None:
        _cluster = Cluster([Server()])
    return _cluster


kazoo.testing.harness.get_global_cluster = get_global_cluster
