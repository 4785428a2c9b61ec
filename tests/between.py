"""Stands between claimwatch and a mail server, sees each step of a delivery, and can end the process there."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tests.mailhost import MailHost

Moment: TypeAlias = Literal["connected", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "stored", "told", "QUIT"]
"""When the server has answered this and claimwatch has not heard it. `stored`: it has the whole message; `told`:
claimwatch has just been given the answer to that."""


class KilledError(Exception):
    """The process at the other end is no more."""


@dataclass
class Between:
    """Passes a conversation on, opening its encryption. `aim` says at which moment of which message to kill whom."""

    host: MailHost
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _victim: subprocess.Popen[bytes] | None = None
    _moment: Moment | None = None
    _message: int = 1

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def aim(self, victim: subprocess.Popen[bytes], moment: Moment, message: int) -> None:
        self._victim, self._message, self._moment = victim, message, moment

    def serve(self) -> None:
        """Takes one connection after the other until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(60)
            server = socket.create_connection(("127.0.0.1", self.host.starttls_port), timeout=60)
            with closing(_Wire(client)) as there, closing(_Wire(server)) as here, suppress(KilledError, OSError):
                self._pass_on(there, here)

    def close(self) -> None:
        # close() alone does not wake the thread that waits in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _pass_on(self, client: _Wire, server: _Wire) -> None:
        message = 0
        self._at("connected", 1)
        client.send(server.reply())
        while line := client.line():
            verb = line[:8].split()[0].decode().upper()
            message += verb == "MAIL"
            server.send(line)
            reply = server.reply()
            self._at(verb, max(message, 1))
            client.send(reply)
            if verb == "STARTTLS":
                client.encrypt(self._context(), server_side=True)
                server.encrypt(self.host.trust(), server_side=False)
            if verb == "DATA" and reply.startswith(b"354"):
                while (line := client.line()) not in (b".\r\n", b""):
                    server.send(line)
                server.send(line)
                reply = server.reply()
                self._at("stored", message)
                client.send(reply)
                self._at("told", message)

    def _at(self, moment: str, message: int) -> None:
        if self._victim and (moment, message) == (self._moment, self._message):
            self._victim.send_signal(signal.SIGKILL)
            self._victim.wait()
            self._victim = None
            raise KilledError

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.host.folder / "server.pem")
        return context


class _Wire:
    """One end's connection, by lines."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = b""

    def close(self) -> None:
        self._connection.close()

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def line(self) -> bytes:
        """A line with its end; empty when the other has hung up."""
        while b"\n" not in self._read:
            more = self._connection.recv(65_536)
            if not more:
                return b""
            self._read += more
        line, end, self._read = self._read.partition(b"\n")
        return line + end

    def reply(self) -> bytes:
        """A whole answer of an SMTP server."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return b"".join(lines)

    def encrypt(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        name = None if server_side else "127.0.0.1"
        self._connection = context.wrap_socket(self._connection, server_side=server_side, server_hostname=name)


@contextmanager
def standing_between(host: MailHost) -> Iterator[Between]:
    between = Between(host)
    thread = threading.Thread(target=between.serve)
    thread.start()
    try:
        yield between
    finally:
        between.close()
        thread.join(10)
        assert not thread.is_alive()
