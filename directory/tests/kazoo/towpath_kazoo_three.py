"""Runs kazoo's own tests against three Servers: a pytest plugin.

As towpath_kazoo, with the program in TOWPATH as three real Servers of one directory. What asks to stop
single servers of the cluster does. In the middle of the test whose number is in TOWPATH_KILL_AT the one
that leads is killed with -9, once, and starts again a few seconds later.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import kazoo.testing.harness
import pytest

MEMBERS = 3
# A Server that was started follows, or leads, by then.
READY_S = 30
# From the beginning of the test to the kill, and from that to the Server's next start.
KILL_AFTER_S = 0.3
START_AFTER_S = 3


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Server:
    def __init__(self, dir, number, ports):
        self.number = number
        self.address, self.peer, self.http = (f"127.0.0.1:{port}" for port in ports)
        self.words = [
            os.environ["TOWPATH"],
            "server",
            f"--node-id={number}",
            f"--data={dir}/{number}",
            f"--listen={self.address}",
            f"--peer-listen={self.peer}",
            f"--http={self.http}",
        ] + ["--join"] * (number > 1)
        self.log = open(f"{dir}/{number}.log", "wb")
        self.process = None
        self.lock = threading.Lock()

    @property
    def running(self):
        return self.process is not None

    @property
    def secure_address(self):
        pytest.skip("TLS is tested in Rust")

    def start(self):
        with self.lock:
            if self.process is None:
                self.process = subprocess.Popen(self.words, stdout=self.log, stderr=self.log)

    def run(self):
        self.start()
        self.wait_for("imok")

    def wait_for(self, answer):
        until = time.monotonic() + READY_S
        while answer not in self.says("ruok"):
            if time.monotonic() > until:
                raise RuntimeError(f"Server {self.number} doesn't say {answer}")
            time.sleep(0.05)

    def says(self, word):
        try:
            host, port = self.address.split(":")
            with socket.create_connection((host, int(port)), 1) as asked:
                asked.sendall(word.encode())
                return asked.makefile().read()
        except OSError:
            return ""

    def end(self, number):
        with self.lock:
            if self.process is not None:
                self.process.send_signal(number)
                self.process.wait(30)
                self.process = None

    def stop(self):
        self.end(signal.SIGTERM)

    destroy = stop


class Cluster(list):
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="towpath-kazoo-")
        ports = free_ports(3 * MEMBERS)
        for at in range(MEMBERS):
            self.append(Server(self.dir, at + 1, ports[3 * at : 3 * at + 3]))
        atexit.register(self.end)
        for server in self:
            server.start()
        self[0].wait_for("imok")
        for server in self[1:]:
            server.wait_for("not serving")
            words = ["cluster", "add", str(server.number), "--peer", server.peer]
            words += ["--client", server.address, "--directory", self[0].address]
            subprocess.run([os.environ["TOWPATH"], *words], check=True, capture_output=True)
            server.wait_for("imok")

    def start(self):
        pass

    def terminate(self):
        pass

    def end(self):
        for server in self:
            server.end(signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def get_logs(self):
        return []

    def get_ssl_client_configuration(self):
        pytest.skip("TLS is tested in Rust")

    def kill_leader(self, during):
        time.sleep(KILL_AFTER_S)
        leader = next((each for each in self if "Mode: leader" in each.says("srvr")), None)
        if leader is None:
            _told.append("no Server leads")
            return
        leader.end(signal.SIGKILL)
        _told.append(f"killed Server {leader.number}, which led, during {during}")
        time.sleep(START_AFTER_S)
        leader.start()


_cluster = None
_tests = 0
_told = []


def get_global_cluster():
    global _cluster
    if _cluster is None:
        _cluster = Cluster()
    return _cluster


kazoo.testing.harness.get_global_cluster = get_global_cluster


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    global _tests
    _tests += 1
    killer = None
    if _tests == int(os.environ.get("TOWPATH_KILL_AT", "0")):
        killer = threading.Thread(target=get_global_cluster().kill_leader, args=[item.nodeid])
        killer.start()
    yield
    if killer is not None:
        killer.join()


def pytest_terminal_summary(terminalreporter):
    for line in _told:
        terminalreporter.write_line(line)
