"""Certificates for tests in Python, made by openssl(1)."""

import os
import subprocess

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-newkey", "rsa:2048")


def openssl(directory, *words):
    done = subprocess.run(["openssl", *map(str, words)], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl failed: {done.stderr}")


def self_signed(directory, names="IP:127.0.0.1", key=EC):
    """Writes server.crt and server.key for these names, as subjectAltName has them."""
    openssl(directory, "req", "-x509", *key, "-nodes", "-days", "2", "-subj", "/CN=server", "-keyout", "server.key",
            "-out", "server.crt", "-addext", f"subjectAltName={names}")


class Authority:
    """Signs certificates. Its own is `certificate`; all files are in `directory`."""

    def __init__(self, directory):
        self.directory = directory
        self.certificate = directory / "ca.crt"
        openssl(directory, "req", "-x509", *EC, "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "30",
                "-subj", "/CN=authority", "-addext", "keyUsage=keyCertSign")

    def issue(self, name="server", extension="subjectAltName=IP:127.0.0.1"):
        """Writes NAME.crt and NAME.key, or replaces both."""
        (self.directory / "extension").write_text(extension + "\n")
        openssl(self.directory, "req", *EC, "-nodes", "-keyout", "new.key", "-out", "new.csr", "-subj", f"/CN={name}")
        openssl(self.directory, "x509", "-req", "-in", "new.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-out", "new.crt", "-days", "30", "-extfile", "extension")
        for kind in ("key", "crt"):
            os.replace(self.directory / f"new.{kind}", self.directory / f"{name}.{kind}")
