"""Certificates of a cluster: one authority, whom everybody is by a client certificate."""

import ssl
from pathlib import Path

import trustme


class Certificates:
    """What the programs of a control plane read, as files; and contexts for clients.

    Parameters
    ----------
    folder
        Where the files go.
    address
        That of the API server.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        folder.mkdir()
        self.ca = folder / "ca.crt"
        self._authority.cert_pem.write_to_path(self.ca)
        self.server = self.issue("kube-apiserver", address)
        self.service_accounts = self.issue("service-accounts")

    def issue(self, user: str, *addresses: str, group: str | None = None) -> tuple[Path, Path]:
        """Issue one to a user, who may be in a group; gives the files of certificate and key."""
        # Go refuses certificates that are nobody's address.
        names = addresses or ("client.test",)
        leaf = self._authority.issue_cert(*names, common_name=user, organization_name=group)
        certificate, key = (
            self._folder / f"{user.replace(':', '_')}.{end}" for end in ("crt", "key")
        )
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
        return certificate, key

    def context(self, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Make what a client connects with, as somebody or as nobody."""
        context = ssl.create_default_context(cafile=self.ca)
        if identity is not None:
            context.load_cert_chain(*identity)
        return context
