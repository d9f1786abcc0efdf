"""
A certificate that lives as long as a run, and the files that make clients trust it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """
    Args:
        certificate: The sink's key and certificate.

        authority: Who signed it.

        bundle: The authority among all those that a client loads anyway. As some
            clients load them for each request, they belong to what is measured.
    """

    certificate: Path
    authority: Path
    bundle: Path

    def environment(self) -> dict[str, str]:
        """
        Return the variables by which requests, Python's ssl and Node are told whom to trust.
        """
        return {
            "REQUESTS_CA_BUNDLE": str(self.bundle),
            "SSL_CERT_FILE": str(self.bundle),
            "NODE_EXTRA_CA_CERTS": str(self.authority),
        }


def reason_against() -> str | None:
    """
    Return why there is no TLS here; None when there is.
    """
    return None if importlib.util.find_spec("trustme") else "no trustme"


@contextlib.contextmanager
def made_for_this_run(peers: Path | None) -> Iterator[Trust | None]:
    """
    Make a certificate that the sink can show; None where that is not possible.

    *peers* is the interpreter of the peers, whose certifi has the usual authorities.
    """
    if reason_against():
        yield None
        return
    import trustme  # noqa: PLC0415 - from the group `bench`, and only this needs it

    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        trust = Trust(
            certificate=here / "sink.pem", authority=here / "authority.pem", bundle=here / "bundle.pem"
        )
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(trust.certificate))
        authority.cert_pem.write_to_path(str(trust.authority))
        usual = usual_authorities(peers)
        trust.bundle.write_bytes(usual + b"\n" + trust.authority.read_bytes())
        yield trust


def usual_authorities(peers: Path | None) -> bytes:
    """
    Return what the peers trust by default, or without them what this system does.
    """
    if peers is not None:
        command = [str(peers), "-c", "import certifi; print(certifi.contents())"]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    store = ssl.get_default_verify_paths().cafile
    return Path(store).read_bytes() if store else b""
