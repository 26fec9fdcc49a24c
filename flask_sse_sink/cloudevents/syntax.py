"""The syntax of attributes: pure checks. Rule: CloudEvents 1.0.2, "Context Attributes"."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from urllib.parse import quote

#: The most characters of a URI and of a media type.
MAX_LENGTH = 2048
#: The range of the type Integer.
MIN_INTEGER, MAX_INTEGER = -(2**31), 2**31 - 1

_NAME = re.compile(r"[a-z0-9]+")
# Control characters, surrogates and noncharacters: no String may hold them.
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)
)
_DISALLOWED = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff{_NONCHARACTERS}]")

_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = rf'{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*")'
# Each space can be matched in one way only: two would take exponential time.
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}[ \t]*(?:;[ \t]*(?:{_PARAMETER}[ \t]*)?)*")
_CHARSET = re.compile(r';[ \t]*charset="?([^";]*)', re.IGNORECASE)
_TEXT_TYPES = frozenset(
    (
        "application/x-www-form-urlencoded",
        "application/javascript",
        "application/x-ndjson",
        "application/ndjson",
        "application/yaml",
        "application/sql",
    )
)

# RFC 3986, appendix A. Alternatives begin with different characters, so that no text takes long.
_PLAIN = r"A-Za-z0-9\-._~!$&'()*+,;="
_ESCAPE = "%[0-9A-Fa-f]{2}"
_PCHAR = rf"(?:[{_PLAIN}:@]|{_ESCAPE})"
_AUTHORITY = (
    rf"(?:(?:[{_PLAIN}:]|{_ESCAPE})*@)?"
    rf"(?:\[[0-9A-Fa-f:.]+\]|\[v[0-9A-Fa-f]+\.[{_PLAIN}:]+\]|(?:[{_PLAIN}]|{_ESCAPE})*)"
    r"(?::[0-9]*)?"
)
_REST = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_AFTER_SCHEME = rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/?{_PCHAR}+(?:/{_PCHAR}*)*|/)?"
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:{_AFTER_SCHEME}{_REST}")
_FIRST_SEGMENT = rf"(?:[{_PLAIN}@]|{_ESCAPE})+"
_RELATIVE = re.compile(
    rf"(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/{_PCHAR}+(?:/{_PCHAR}*)*|/"
    rf"|{_FIRST_SEGMENT}(?:/{_PCHAR}*)*)?{_REST}"
)


def is_name(text: str) -> bool:
    """Return whether an attribute may have this name."""
    return _NAME.fullmatch(text) is not None and text != "data"


def is_string(text: str) -> bool:
    """Return whether every character may stand in a String."""
    return _DISALLOWED.search(text) is None


def is_integer(value: object) -> bool:
    """Return whether the value is an Integer."""
    return type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER


def is_uri(text: str) -> bool:
    """Return whether the text is a URI with a scheme. Rule: RFC 3986, 4.3."""
    return len(text) <= MAX_LENGTH and _URI.fullmatch(text) is not None


def is_uri_reference(text: str) -> bool:
    """Return whether the text is a URI reference. Rule: RFC 3986, 4.1."""
    if len(text) > MAX_LENGTH:
        return False
    return is_uri(text) or _RELATIVE.fullmatch(text) is not None


def uri_reference(text: str) -> str:
    """Return the text if it is a URI reference, else one, with what can't stand there encoded."""
    if is_uri_reference(text):
        return text
    # What has a meaning in a URI is kept, if the whole then is one.
    encoded = quote(text, safe=":/?#@-._~!$&'()*+,;=")
    return encoded if is_uri_reference(encoded) else quote(text, safe="/-._~!$&'()*+,;=")


def is_timestamp(text: str) -> bool:
    """Return whether the text is a date and time of RFC 3339; seconds may be 60."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.fromisoformat(match[1])
    except ValueError:
        return False
    return True


def is_media_type(text: str) -> bool:
    """Return whether the text is a media type, perhaps with parameters. Rule: RFC 2046."""
    return len(text) <= MAX_LENGTH and _MEDIA_TYPE.fullmatch(text) is not None


def is_json(media_type: str) -> bool:
    """Return whether data of this type is JSON; "" is."""
    essence = _essence(media_type)
    return not essence or essence.endswith(("/json", "+json"))


def is_text(media_type: str) -> bool:
    """Return whether data of this type is text in UTF-8, if it is valid UTF-8 at all."""
    charset = _CHARSET.search(media_type)
    if charset is not None:
        return charset[1].strip().lower() in ("utf-8", "utf8", "us-ascii")
    essence = _essence(media_type)
    is_xml = essence.endswith(("/xml", "+xml"))
    return is_xml or essence.startswith("text/") or essence in _TEXT_TYPES


def is_base64(text: str) -> bool:
    """Return whether the text is base64 of RFC 4648, 4."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()
