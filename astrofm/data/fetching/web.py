"""HTTP as archives speak it: redirects, proxies, servers that fail for a moment, and no secrets in any message.

Proxies come from the environment (``https_proxy``, ``no_proxy``, ...), as for any program.
"""

from __future__ import annotations

__all__ = ["Hiccup", "Patience", "StatusError", "get_json", "open_url", "origin", "shown", "without_user"]

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from astrofm.errors import FetchError, OfflineError

TIMEOUT_SECONDS = 30.0
NUM_TRIES = 6
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 120.0
NUM_REDIRECTS = 10
_PASSING = {408, 425, 429}
"""Statuses below 500 that a later try may not get again."""


class Hiccup(Exception):
    """A fault that may be gone at the next try; no user sees it as such."""

    def __init__(self, said: str, wait_seconds: float | None = None) -> None:
        super().__init__(said)
        self.wait_seconds = wait_seconds
        """What the server asks to wait, if it does."""


class StatusError(FetchError):
    """An HTTP status that means no."""

    def __init__(self, said: str, status: int, headers: Message) -> None:
        super().__init__(said)
        self.status = status
        self.headers = headers


class Patience:
    """Waits between tries, twice as long each time, and gives up after several without progress."""

    def __init__(self, what: str, stop: threading.Event | None = None) -> None:
        self._what = what
        self._stop = stop or threading.Event()
        self._tries = 0
        self._best = 0

    def progressed(self, num_bytes: int) -> None:
        """Start counting anew if more of the file is here than ever before."""
        if num_bytes > self._best:
            self._best, self._tries = num_bytes, 0

    def wait(self, hiccup: Hiccup) -> None:
        """Wait for the next try.

        Raises:
            FetchError: If there were enough of them, or the server asks for more time than anybody has.
        """
        self._tries += 1
        seconds = FIRST_WAIT_SECONDS * 2 ** (self._tries - 1) if hiccup.wait_seconds is None else hiccup.wait_seconds
        if self._tries >= NUM_TRIES:
            raise FetchError(
                f"{self._what}: {hiccup}, {self._tries} times in a row; what has arrived is kept, and the same command "
                "goes on there"
            )
        if seconds > LONGEST_WAIT_SECONDS:
            raise FetchError(
                f"{self._what}: {hiccup}, and asks to wait {seconds:.0f} s: give the same command again after that"
            )
        if pause(seconds, self._stop):
            raise KeyboardInterrupt


def pause(seconds: float, stop: threading.Event) -> bool:
    """Wait; return whether somebody wants to stop."""
    return stop.wait(seconds)


def shown(url: str) -> str:
    """Return a URL without user, password and query, any of which may be a secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_user(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def open_url(url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """Ask for a URL and return the answer, whose body is still to be read.

    Args:
        url: An ``http`` or ``https`` URL; a user and password in it are sent as such.
        headers: Further headers; ``Authorization`` stays behind where a redirect leads to another host.

    Raises:
        Hiccup: If a later try may do better.
        OfflineError: If the host cannot be reached.
        StatusError: If the server says no.
        FetchError: If the URL or the way to it is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError(f"{shown(url)!r} is no http or https address")
    request = Request(_bare(url), headers={"User-Agent": f"astrofm/{version('astrofm')}", **_basic(url)})
    for key, value in (headers or {}).items():
        request.add_header(key, value)
    try:
        return build_opener(_Redirects).open(request, timeout=TIMEOUT_SECONDS)  # type: ignore[no-any-return]
    except HTTPError as error:
        with error:
            raise _of_status(error, url) from error
    except URLError as error:
        raise _of_connection(error.reason, url) from error
    except (OSError, http.client.HTTPException) as error:
        raise Hiccup(f"{parts.hostname} did not answer ({_in_words(error)})") from error


def get_json(url: str, headers: Mapping[str, str] | None = None) -> tuple[Any, Message]:
    """Return a JSON document and the headers it came with; raises what :func:`open_url` does but :class:`Hiccup`."""
    patience = Patience(shown(url))
    while True:
        try:
            with open_url(url, headers) as response:
                try:
                    return json.loads(response.read()), response.headers
                except (OSError, http.client.HTTPException) as error:
                    raise Hiccup(f"the answer was cut short ({_in_words(error)})") from error
                except ValueError as error:
                    raise FetchError(f"{shown(url)} answered with something other than JSON") from error
        except Hiccup as hiccup:
            patience.wait(hiccup)


class _Redirects(HTTPRedirectHandler):
    max_redirections = NUM_REDIRECTS

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Follow to http and https alone, and tell nobody else what was meant for the first host."""
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise HTTPError(req.full_url, code, msg, headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, _bare(newurl))
        if following is not None and origin(following.full_url) != origin(req.full_url):
            following.remove_header("Authorization")
        return following


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return what two URLs share that a secret may be told to alike: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _bare(url: str) -> str:
    """Return the URL as it goes to the server: without user and password, its odd characters quoted."""
    parts = urlsplit(without_user(url))
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _basic(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def _of_status(error: HTTPError, url: str) -> Exception:
    if error.code in _PASSING or error.code >= 500:
        return Hiccup(f"the server answered {error.code} ({error.reason})", _asked_wait(error.headers))
    there = error.headers.get("Location", "")
    if 300 <= error.code < 400 and urlsplit(there).scheme not in ("", "http", "https"):
        said = f"{shown(url)} leads to {shown(there)}, which is no http or https address"
    elif 300 <= error.code < 400:
        said = f"{shown(url)} is redirected in a circle, or more than {NUM_REDIRECTS} times"
    elif error.code in (404, 410):
        said = f"there is no {shown(url)} (HTTP {error.code})"
    else:
        said = f"{shown(url)} was refused: HTTP {error.code} ({error.reason})"
    return StatusError(said, error.code, error.headers)


def _asked_wait(headers: Message) -> float | None:
    """Return the seconds of ``Retry-After``, which gives them or a date (RFC 9110, section 10.2.3)."""
    given = headers.get("Retry-After", "").strip()
    if given.isdigit():
        return float(given)
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _of_connection(reason: object, url: str) -> Exception:
    """Sort what kept a connection from being made."""
    host = urlsplit(url).hostname
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchError(f"{host} does not prove that it is {host} ({reason.verify_message})")
    if isinstance(reason, ConnectionResetError | BrokenPipeError | ssl.SSLError):
        return Hiccup(f"{host} closed the connection")
    return OfflineError(f"{host} cannot be reached ({_in_words(reason)})")


def _in_words(reason: object) -> str:
    said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(str(said).split()) or type(reason).__name__
