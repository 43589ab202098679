"""A Slurm cluster of two nodes on this machine, for the end-to-end tests: its own munge, controller and two slurmd, all
in a scratch directory and on free ports of 127.0.0.1. Needs root and the Debian packages slurm-wlm and munge."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "sinfo", "scontrol")
NODES = ("n1", "n2")
SECONDS = 60


def reason_against():
    """Why there can be no cluster here; nothing if there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    missing = [name for name in PROGRAMS if found(name) is None]
    return f"Slurm is not installed (missing: {', '.join(missing)})" if missing else None


def found(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class SlurmCluster:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.daemons = []
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self):
        self.folder.chmod(0o755)  # munge wants every folder above its socket closed to others' writes
        for name in ("state", "munge", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(mode=0o755)
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        self.write_configuration(*free_ports(3))
        self.run_daemon("munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket",
                        f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        self.await_that(lambda: (munge / "socket").exists(), "munge")
        self.run_daemon("slurmctld", "-D")
        for node in NODES:
            self.run_daemon("slurmd", "-D", "-N", node)
        self.await_that(lambda: self.call("sinfo", "-h", "-o", "%D %t").stdout.split() == ["2", "idle"], "idle nodes")

    def write_configuration(self, controller_port, *node_ports):
        host = socket.gethostname()
        lines = [
            "ClusterName=concerto", f"SlurmctldHost={host}(127.0.0.1)", f"SlurmctldPort={controller_port}",
            "SlurmUser=root", "SlurmdUser=root", "AuthType=auth/munge", f"AuthInfo=socket={self.folder}/munge/socket",
            "CredType=cred/munge", f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool-%n", f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd-%n.pid", f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/slurmd-%n.log", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none", "SelectType=select/cons_tres", "ReturnToService=2", "MpiDefault=none",
            "KillWait=5", "SchedulerParameters=batch_sched_delay=0,sched_interval=1",
        ]
        for node, port in zip(NODES, node_ports):
            lines.append(f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 State=UNKNOWN")
        lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        # More processors than there may be: ranks of these tests mostly wait.
        lines.append("SlurmdParameters=config_overrides")
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")

    def run_daemon(self, name, *arguments):
        log = open(self.folder / f"{name}-{len(self.daemons)}.out", "w", encoding="utf-8")
        with log:
            self.daemons.append(subprocess.Popen([found(name), *arguments], env=self.environment, stdout=log,
                                                 stderr=log, stdin=subprocess.DEVNULL, start_new_session=True))

    def call(self, *words, seconds=SECONDS, cwd=None, environment=None):
        return subprocess.run([found(words[0]), *map(str, words[1:])], env={**self.environment, **(environment or {})},
                              text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds, cwd=cwd)

    def await_that(self, condition, what):
        until = time.monotonic() + SECONDS
        while not condition():
            for daemon in self.daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"a daemon ended while waiting for {what}: {self.logs()}")
            if time.monotonic() > until:
                raise RuntimeError(f"waited in vain for {what}: {self.logs()}")
            time.sleep(0.1)

    def logs(self):
        texts = [f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}"
                 for path in sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("*.out"))]
        return "\n".join(texts)

    def stop(self):
        """Ends the daemons in the reverse order of their start, by their numbers."""
        for daemon in reversed(self.daemons):
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
                try:
                    daemon.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
