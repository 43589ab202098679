"""A real etcd for the end-to-end tests: on free ports of this machine, in a directory of its own."""
import base64
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


def why_not():
    """Nothing where etcd is installed."""
    return "" if shutil.which("etcd") else "SKIPPED: etcd is not installed (Debian package etcd-server)"


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


class Etcd:
    ROOT_PASSWORD = "the root's"

    def __init__(self, has_tls=False):
        """With TLS it also listens at `tls_port`, where clients have to show a certificate of its authority."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="concerto_etcd_"))
        self.has_tls = has_tls
        if has_tls:
            self.make_certificates()
        self.token = None
        for _ in range(5):  # a port may be taken by somebody else before etcd takes it
            self.port, self.tls_port, peer = free_ports(3)
            self.start(peer)
            if self.answers():
                return
            self.stop()
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        raise RuntimeError("etcd does not start: " + (self.folder / "log").read_text()[-2000:])

    def start(self, peer):
        url, peer_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{peer}"
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", "test", "--data-dir", self.folder / "data", "--heartbeat-interval", "50",
                 "--election-timeout", "250", "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
                 "--initial-cluster", f"test={peer_url}", "--advertise-client-urls", url, "--listen-client-urls", url,
                 "--bcrypt-cost", "4", *self.tls_words(url)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def tls_words(self, url):
        if not self.has_tls:
            return []
        return ["--listen-client-urls", f"{url},https://127.0.0.1:{self.tls_port}", "--cert-file", self.folder / "server.pem",
                "--key-file", self.folder / "server.key", "--trusted-ca-file", self.folder / "authority.pem",
                "--client-cert-auth"]

    def make_certificates(self):
        """An authority, and certificates of it for the server and a client; "stranger" is of another one. etcd's gateway
        is a client with the server's certificate, and takes none with a common name."""
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for authority in ("authority", "other"):
            self.openssl("req", "-x509", *key, "-days", "2", "-subj", f"/CN={authority}", "-keyout", f"{authority}.key",
                         "-out", f"{authority}.pem")
        for authority, name in (("authority", "server"), ("authority", "client"), ("other", "stranger")):
            (self.folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n"
                                                     "extendedKeyUsage=serverAuth,clientAuth\n")
            self.openssl("req", *key, "-subj", f"/O={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                         "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def answers(self):
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.post("/v3/kv/range", key=base64_of("x"))
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def stop(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self):
        return f"etcd://127.0.0.1:{self.port}"

    def post(self, path, **body):
        headers = {"Authorization": self.token} if self.token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def keys(self):
        """Every key of etcd."""
        found = self.post("/v3/kv/range", key=base64_of("\0"), range_end=base64_of("\0"), keys_only=True)
        return sorted(base64.b64decode(entry["key"]).decode() for entry in found.get("kvs", []))

    def put(self, key, value):
        self.post("/v3/kv/put", key=base64_of(key), value=base64_of(value))

    def add_user(self, name, password, prefix):
        self.post("/v3/auth/user/add", name=name, password=password)
        self.post("/v3/auth/role/add", name=name)
        self.post("/v3/auth/role/grant", name=name,
                  perm={"permType": "READWRITE", "key": base64_of(prefix), "range_end": base64_of(prefix[:-1] + "0")})
        self.post("/v3/auth/user/grant", user=name, role=name)

    def ask_for_passwords(self):
        self.post("/v3/auth/user/add", name="root", password=self.ROOT_PASSWORD)
        self.post("/v3/auth/role/add", name="root")
        self.post("/v3/auth/user/grant", user="root", role="root")
        self.post("/v3/auth/enable")
        self.token = self.post("/v3/auth/authenticate", name="root", password=self.ROOT_PASSWORD)["token"]
