"""A TLS server on the loopback address that answers byte for byte what a test wants, also wrongly or not at all."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from support.ports import LOOPBACK
from support.tls import Certificate
from support.waiting import wait_until

HEAD_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: str
    connection: int  # which connection it came on, from 1

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Connection:
    """The server's side of one connection; what handlers write to."""

    def __init__(self, tls: ssl.SSLSocket, number: int) -> None:
        self.number = number
        self._tls = tls
        self._unread = b""

    def send(self, answer: bytes) -> None:
        self._tls.sendall(answer)

    def close(self) -> None:
        """Ends the TCP connection without TLS's own good-bye."""
        self._tls.close()

    def reset(self) -> None:
        self._tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._tls.close()

    def read_request(self) -> Request | None:
        while b"\r\n\r\n" not in self._unread:
            if not self._read_more():
                return None
        head, self._unread = self._unread.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        method, target, _version = first.split(" ")
        headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        length = int(next((value for name, value in headers if name.lower() == "content-length"), "0"))
        while len(self._unread) < length:
            if not self._read_more():
                return None
        body, self._unread = self._unread[:length], self._unread[length:]
        return Request(method, target, headers, body.decode(), self.number)

    def _read_more(self) -> bool:
        count = len(self._unread)
        if count < HEAD_BYTES_MAX:
            self._unread += self._tls.recv(65536)
        return len(self._unread) > count


Handler = Callable[[Connection, Request], None]


def response(body: str = "", status: int = 200, **headers: str) -> bytes:
    """A complete answer that keeps the connection; `_` in names of headers stands for `-`."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def answering(*answers: bytes) -> Handler:
    """Gives these answers in their order, and the last one ever after."""
    left = list(answers)
    lock = threading.Lock()

    def handle(connection: Connection, _request: Request) -> None:
        with lock:
            answer = left.pop(0) if len(left) > 1 else left[0]
        connection.send(answer)

    return handle


class TlsServer:
    """Calls `handle` for each request on a thread per connection; a context manager."""

    def __init__(self, certificate: Certificate, handle: Handler) -> None:
        self.handle = handle
        self.requests: list[Request] = []
        self.connections = 0  # TCP connections, also those whose handshake failed
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.cert, certificate.key)
        self._socket = socket.create_server((LOOPBACK, 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_closing = False
        self.port: int = self._socket.getsockname()[1]
        self.url = f"https://{LOOPBACK}:{self.port}"

    def __enter__(self) -> TlsServer:
        self._start(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_closing = True
        socket.create_connection((LOOPBACK, self.port)).close()  # wakes accept()
        self._threads[0].join()
        self._socket.close()
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in self._threads:
            thread.join()

    def wait_for_requests(self, count: int, deadline: float = 10) -> list[Request]:
        wait_until(lambda: len(self.requests) >= count, deadline, f"{count} requests arrived")
        return self.requests

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            plain, _address = self._socket.accept()
            if self._is_closing:
                plain.close()
                return
            self.connections += 1
            self._start(self._serve, plain, self.connections)

    def _serve(self, plain: socket.socket, number: int) -> None:
        try:
            tls = self._context.wrap_socket(plain, server_side=True)
            self._open.append(tls)
            connection = Connection(tls, number)
            while (request := connection.read_request()) is not None:
                self.requests.append(request)
                self.handle(connection, request)
        except (OSError, ValueError):
            pass  # the client went, or the test closed the connection
        finally:
            plain.close()
