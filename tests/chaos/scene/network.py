"""Hosts as network namespaces on one bridge, and the machine itself as the host of Redis and of the clients."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence


def is_permitted() -> bool:
    """Return whether this process may make network namespaces and connect them."""
    probe = f"wfp{os.getpid()}"
    try:
        _ip("netns", "add", probe)
        _ip("link", "add", probe, "type", "veth", "peer", "name", "eth0", "netns", probe)
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False) if _has_ip() else None
    return True


class Network:
    """A private network of these hosts. `cut` pulls a host's cable; nothing is refused, packets just vanish."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._bridge = f"wf{os.getpid()}"
        self._hosts = {host: number for number, host in enumerate(hosts)}
        self._subnet = f"10.{200 + os.getpid() // 250 % 50}.{os.getpid() % 250}"
        self.address = f"{self._subnet}.1"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for host, number in self._hosts.items():
            self._connect(host, number)

    def prefix(self, host: str) -> tuple[str, ...]:
        """Return what to write before a command that runs on this host."""
        return ("ip", "netns", "exec", self._namespace(host))

    def cut(self, host: str) -> None:
        _ip("link", "set", self._cable(host), "nomaster")

    def mend(self, host: str) -> None:
        _ip("link", "set", self._cable(host), "master", self._bridge)

    def close(self) -> None:
        """Remove every namespace and the bridge."""
        for host in self._hosts:
            subprocess.run(["ip", "netns", "del", self._namespace(host)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True, check=False)

    def _connect(self, host: str, number: int) -> None:
        namespace = self._namespace(host)
        _ip("netns", "add", namespace)
        _ip("link", "add", self._cable(host), "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", namespace, "addr", "add", f"{self._subnet}.{number + 2}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", link, "up")
        _ip("link", "set", self._cable(host), "up")
        self.mend(host)

    def _namespace(self, host: str) -> str:
        return f"{self._bridge}-{host}"

    def _cable(self, host: str) -> str:
        return f"{self._bridge}v{self._hosts[host]}"


def _has_ip() -> bool:
    return subprocess.run(["sh", "-c", "command -v ip"], capture_output=True, check=False).returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
