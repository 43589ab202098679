"""Two network namespaces joined by one link, as two machines on one wire: for tests and benchmarks of what happens
between machines. Needs root and iproute2; everything that it makes is gone when it is closed."""
import os
import shutil
import subprocess


def obstacle():
    """Why there can be no namespaces here, in one line; empty: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "network namespaces need the programs ip and tc (iproute2)"
    probe = f"concerto-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return ""


class TwoMachines:
    """Addresses are those of a test network (RFC 2544); names hold this process's number, so that two can live side by
    side."""

    INTERFACE = "link0"

    def __init__(self):
        self.names = [f"concerto-{os.getpid()}-{i}" for i in (0, 1)]
        self.addresses = ["198.18.77.1", "198.18.77.2"]
        try:
            for name in self.names:
                self._ip("netns", "add", name)
            self._ip("link", "add", self.INTERFACE, "netns", self.names[0], "type", "veth", "peer", "name",
                     self.INTERFACE, "netns", self.names[1])
            for name, address in zip(self.names, self.addresses):
                self._ip("-n", name, "address", "add", f"{address}/30", "dev", self.INTERFACE)
                self._ip("-n", name, "link", "set", "lo", "up")
                self._ip("-n", name, "link", "set", self.INTERFACE, "up")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def within(self, machine):
        """The words that, put before a command, run it on this machine (0 or 1)."""
        return ["ip", "netns", "exec", self.names[machine]]

    def limit_rate(self, megabits):
        """What the link carries in each direction, in Mbit/s."""
        for name in self.names:
            subprocess.run(["tc", "-n", name, "qdisc", "replace", "dev", self.INTERFACE, "root", "tbf", "rate",
                            f"{megabits}mbit", "burst", "256kb", "latency", "20ms"], check=True)

    def cut(self):
        """Nothing passes any more, and connections are not closed."""
        self._ip("-n", self.names[0], "route", "replace", "blackhole", f"{self.addresses[1]}/32")
        self._ip("-n", self.names[1], "route", "replace", "blackhole", f"{self.addresses[0]}/32")

    @staticmethod
    def _ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
