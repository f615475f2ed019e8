"""What every simulator of an outside service shares.

A simulator is one process with one asyncio loop, its whole state in memory. The chassis gives it: options, TLS, a
port file, a journal of all requests, faults on demand, settings, webhook deliveries, and the admin routes under
`/_sim/`. The simulator itself derives from `Simulator`, adds its routes and calls `main(Class)`.

A simulator is a test double: it checks what its clients send as strictly as the service does, but it is not hardened
against them, and it must listen on loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import os
import signal
import socket
import ssl
import sys
import time
import traceback
from typing import Any

from aiohttp import web

from chassis_deliveries import DELIVERIES_MAX, DELIVERY_SETTINGS, Delivery, DeliveryWorker
from chassis_faults import HTML_PAGE, Fault
from chassis_journal import REDACTED, SECRET_FIELDS, Journal
from chassis_values import (
    TICKS_PER_SECOND,
    AdminError,
    Clock,
    Ids,
    Setting,
    Settings,
    admin_body,
    answer,
    dump,
    iso7,
    merge,
    parse_assignment,
    parse_json,
)

__all__ = [
    "DELIVERY_SETTINGS",
    "REDACTED",
    "SECRET_FIELDS",
    "TICKS_PER_SECOND",
    "AdminError",
    "Clock",
    "Delivery",
    "DeliveryWorker",
    "Fault",
    "Ids",
    "Journal",
    "Setting",
    "Settings",
    "Simulator",
    "admin_body",
    "answer",
    "dump",
    "iso7",
    "main",
    "merge",
    "parse_json",
]

REQUEST_MAX = 128 * 1024 * 1024
URL_MAX = 32 * 1024


class Simulator:
    """Base of a simulator. The life of one: constructor, `started`, requests, perhaps `reset`, end of process."""

    title = "simulator"
    setting_definitions: dict[str, Setting] = {}
    secret_fields: tuple[str, ...] = SECRET_FIELDS

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.ids = Ids(options.seed)
        self.clock = Clock()
        self.settings = Settings(
            {**DELIVERY_SETTINGS, **self.setting_definitions}, dict(parse_assignment(text) for text in options.set)
        )
        self.journal = Journal(self.secret_fields)
        self.faults: list[Fault] = []
        self._fault_numbers = itertools.count(1)
        self.deliveries = self.make_deliveries()
        self.base_url = ""

    # What a simulator overrides.

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options beyond the common ones."""

    def make_deliveries(self) -> DeliveryWorker:
        return DeliveryWorker(self)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """The service's own routes and further admin routes."""
        raise NotImplementedError

    def reset_state(self) -> None:
        """Back to the state after the start. Called by POST /_sim/reset after journal, faults and settings."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Everything the simulator knows, for GET /_sim/state."""
        raise NotImplementedError

    def error_response(self, request: web.Request, status: int) -> web.Response:
        """The service's own body for an error status: unknown routes, faults without a body, internal errors."""
        return answer({"error": status}, status)

    def decorate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Adds the headers that every answer of the service carries."""

    async def started(self) -> None:
        """Called once the port is known (`self.base_url`)."""

    # Admin routes.

    def _admin_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/_sim/health", self._health)
        router.add_post("/_sim/reset", self._reset)
        router.add_get("/_sim/state", self._state)
        router.add_get("/_sim/journal", self._journal)
        router.add_delete("/_sim/journal", self._journal_clear)
        router.add_get("/_sim/faults", self._faults)
        router.add_post("/_sim/faults", self._fault_add)
        router.add_delete("/_sim/faults", self._faults_clear)
        router.add_delete(r"/_sim/faults/{id:\d+}", self._fault_remove)
        router.add_get("/_sim/settings", self._settings)
        router.add_patch("/_sim/settings", self._settings_change)
        router.add_get("/_sim/deliveries", self._deliveries)
        router.add_delete("/_sim/deliveries", self._deliveries_clear)
        router.add_get("/_sim/deliveries/policy", self._policy)
        router.add_post("/_sim/deliveries/policy", self._policy_change)

    async def _health(self, request: web.Request) -> web.Response:
        return answer({"ok": True})

    async def _reset(self, request: web.Request) -> web.Response:
        self.faults.clear()
        self.journal.clear()
        self.settings.reset()
        self.deliveries.reset()
        self.ids.reset()
        self.reset_state()
        return answer({"ok": True})

    async def _state(self, request: web.Request) -> web.Response:
        return answer(self.state())

    async def _journal(self, request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not since.isdigit():
            raise AdminError("since must be a whole number")
        return answer(self.journal.since(int(since)))

    async def _journal_clear(self, request: web.Request) -> web.Response:
        self.journal.clear()
        return answer({"ok": True})

    async def _faults(self, request: web.Request) -> web.Response:
        return answer({"faults": [fault.shown() for fault in self.faults]})

    async def _fault_add(self, request: web.Request) -> web.Response:
        fault = Fault.parse(next(self._fault_numbers), await admin_body(request))
        self.faults.append(fault)
        return answer(fault.shown(), 201)

    async def _faults_clear(self, request: web.Request) -> web.Response:
        self.faults.clear()
        return answer({"ok": True})

    async def _fault_remove(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        left = [fault for fault in self.faults if fault.id != number]
        if len(left) == len(self.faults):
            raise AdminError("no such fault", 404)
        self.faults = left
        return answer({"ok": True})

    async def _settings(self, request: web.Request) -> web.Response:
        if "describe" in request.query:
            return answer(
                {
                    name: {"default": s.default, "choices": list(s.choices), "help": s.help}
                    for name, s in self.settings.definitions.items()
                }
            )
        return answer(self.settings.values())

    async def _settings_change(self, request: web.Request) -> web.Response:
        self.settings.change(await admin_body(request))
        return answer(self.settings.values())

    async def _deliveries(self, request: web.Request) -> web.Response:
        return answer(
            {
                "deliveries": [delivery.shown() for delivery in self.deliveries.log],
                "pending": self.deliveries.pending(),
                "policy": self.deliveries.policy,
            }
        )

    async def _deliveries_clear(self, request: web.Request) -> web.Response:
        self.deliveries.log = collections.deque(
            (delivery for delivery in self.deliveries.log if delivery.state == "queued"), maxlen=DELIVERIES_MAX
        )
        return answer({"ok": True})

    async def _policy(self, request: web.Request) -> web.Response:
        return answer(self.deliveries.policy)

    async def _policy_change(self, request: web.Request) -> web.Response:
        self.deliveries.change_policy(await admin_body(request))
        return answer(self.deliveries.policy)

    # The way of a request.

    def application(self) -> web.Application:
        @web.middleware
        async def outermost(request: web.Request, handler: Any) -> web.StreamResponse:
            if request.path.startswith("/_sim/"):
                return await self._admin(request, handler)
            return await self._served(request, handler)

        app = web.Application(middlewares=[outermost], client_max_size=REQUEST_MAX)
        self._admin_routes(app.router)
        self.add_routes(app.router)
        return app

    async def _admin(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except AdminError as problem:
            return answer({"error": str(problem)}, problem.status)
        except web.HTTPException as problem:
            return answer({"error": problem.reason}, problem.status)

    async def _perform(self, request: web.Request, handler: Any) -> web.Response:
        try:
            response = await handler(request)
        except web.HTTPException as problem:
            response = self.error_response(request, problem.status)
        except Exception:  # a defect of the simulator must show as an answer, not as a closed connection
            traceback.print_exc(file=sys.stderr)
            response = self.error_response(request, 500)
        self.decorate(request, response)
        return response

    async def _served(self, request: web.Request, handler: Any) -> web.StreamResponse:
        started = time.monotonic()
        arrived = iso7(time.time_ns() // 100)
        arrival = self.journal.arrival()
        body = await request.read()
        fault = next((each for each in self.faults if each.takes(request, body)), None)
        response: web.Response | None
        if fault is None:
            response = await self._perform(request, handler)
        else:
            if fault.delay_ms and fault.action != "slow-body":
                await asyncio.sleep(fault.delay_ms / 1000)
            response = await self._faulty(request, handler, fault)
        form = request.content_type == "application/x-www-form-urlencoded"
        self.journal.add(
            {
                "arrival": arrival,
                "time": arrived,
                "method": request.method,
                "path": request.path,
                "query": request.query_string,
                "headers": self.journal.redact_headers(request.headers),
                "body": self.journal.redact(body, form),
                "status": response.status if response is not None else None,
                "response": self.journal.redact(bytes(response.body or b""), False) if response is not None else None,
                "response_headers": self.journal.redact_headers(response.headers) if response is not None else {},
                "duration_ms": round((time.monotonic() - started) * 1000, 3),
                "fault": fault.action if fault else None,
            }
        )
        if response is None:
            return close_connection(request)
        if fault is not None and fault.action in ("slow-body", "truncate"):
            return await self._distorted(request, response, fault)
        return response

    async def _faulty(self, request: web.Request, handler: Any, fault: Fault) -> web.Response | None:
        """The answer under a fault; None closes the connection."""
        if fault.action == "drop":
            return None
        if fault.action in ("status", "html", "redirect"):
            if fault.has_body:
                text = fault.body if isinstance(fault.body, str) else dump(fault.body)
                response = web.Response(
                    body=text.encode(),
                    status=fault.status or {"html": 200, "redirect": 302}.get(fault.action, 500),
                    content_type="text/html" if fault.action == "html" else "application/json",
                    charset="utf-8",
                )
            elif fault.action == "html":
                response = web.Response(text=HTML_PAGE, status=fault.status or 200, content_type="text/html")
            elif fault.action == "redirect":
                response = web.Response(status=fault.status or 302)
                response.headers["Location"] = "https://redirect.invalid/"
            else:
                response = self.error_response(request, fault.status or 500)
            self.decorate(request, response)
        else:
            response = await self._perform(request, handler)
            if fault.action == "apply-then-drop":
                return None
            if fault.action == "garbage":
                response = copy_response(response, b"\x00\xff{]garbage\r\n\xfe")
            elif fault.action == "oversize":
                content = bytes(response.body or b"")
                response = copy_response(response, content + b" " * max(0, fault.size - len(content)))
        for name, value in fault.headers.items():
            response.headers[name] = value
        return response

    @staticmethod
    async def _distorted(request: web.Request, whole: web.Response, fault: Fault) -> web.StreamResponse:
        content = bytes(whole.body or b"")
        response = web.StreamResponse(status=whole.status, headers=without_framing(whole))
        if whole.status == 204:
            return whole
        response.content_length = max(len(content), 1)
        await response.prepare(request)
        if fault.action == "truncate":
            await response.write(content[: len(content) // 2])
            return close_connection(request, gently=True)
        pieces = 20
        step = max(1, -(-len(content) // pieces))
        for start in range(0, len(content), step):
            await asyncio.sleep(fault.delay_ms / 1000 / pieces)
            await response.write(content[start : start + step])
        await response.write_eof()
        return response


def without_framing(response: web.Response) -> dict[str, str]:
    framing = ("content-length", "transfer-encoding", "content-encoding")
    return {name: value for name, value in response.headers.items() if name.lower() not in framing}


def copy_response(response: web.Response, body: bytes) -> web.Response:
    status = 200 if response.status == 204 else response.status
    return web.Response(body=body, status=status, headers=without_framing(response))


def close_connection(request: web.Request, gently: bool = False) -> web.Response:
    """Ends the connection. The answer returned goes nowhere; it only ends the handler."""
    if request.transport is not None:
        if gently:
            request.transport.close()
        else:
            request.transport.abort()
    return web.Response(status=500)


def make_parser(cls: type[Simulator]) -> argparse.ArgumentParser:
    definitions = {**DELIVERY_SETTINGS, **cls.setting_definitions}
    lines = [f"  {name:<28} {dump(s.default):<14} {s.help}" for name, s in sorted(definitions.items())]
    parser = argparse.ArgumentParser(
        description=cls.__doc__,
        epilog="settings (--set NAME=VALUE or PATCH /_sim/settings), with defaults:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one (0)")
    parser.add_argument("--port-file", metavar="FILE", help="file that gets the port number once it is listening")
    parser.add_argument("--cert", metavar="FILE", help="certificate chain for TLS, PEM; without it plain http")
    parser.add_argument("--key", metavar="FILE", help="key of the certificate, PEM")
    parser.add_argument("--ca", metavar="FILE", help="CA that signs the webhook receivers' certificates, PEM")
    parser.add_argument("--seed", type=int, help="makes ids and chance the same in every run")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting to start with")
    cls.add_options(parser)
    return parser


def write_atomically(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="ascii") as file:
        file.write(text)
    os.replace(temporary, path)


async def serve(simulator: Simulator) -> None:
    """Serves until SIGTERM or SIGINT."""
    options = simulator.options
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(options.cert, options.key)
        context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server((options.host, options.port), backlog=1024)
    port = listener.getsockname()[1]
    simulator.base_url = f"{'https' if context else 'http'}://{options.host}:{port}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await simulator.deliveries.start(options.ca)
    await simulator.started()
    runner = web.AppRunner(simulator.application(), access_log=None, max_line_size=URL_MAX)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context).start()
    if options.port_file:
        write_atomically(options.port_file, f"{port}\n")
    print(f"{simulator.title} listens on {simulator.base_url}", file=sys.stderr, flush=True)
    await stop.wait()
    await simulator.deliveries.stop()
    try:
        await asyncio.wait_for(runner.cleanup(), 2)
    except asyncio.TimeoutError:  # a handler in a long delay does not hold up the end
        pass


def main(cls: type[Simulator]) -> None:
    """Entry of a simulator's program."""
    parser = make_parser(cls)
    options = parser.parse_args()
    if bool(options.cert) != bool(options.key):
        parser.error("--cert and --key belong together")

    async def run() -> None:
        try:
            simulator = cls(options)
        except AdminError as problem:
            parser.error(str(problem))
        await serve(simulator)

    asyncio.run(run())
