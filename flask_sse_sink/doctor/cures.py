"""The cure of each finding, where nobody knows what stands between."""

from __future__ import annotations

from collections.abc import Sequence

from .intermediaries import Intermediary, setting_for
from .report import Finding

_MORE = "docs/doctor.md has the settings of common proxies"

#: By the code of the finding.
CURES = {
    "buffering": "switch the proxy's buffering of responses off for this path, and let it see "
    "X-Accel-Buffering: no",
    "compression": "switch compression off for text/event-stream",
    "idle_timeout": "raise the proxy's timeout between two reads above heartbeat_timeout, or "
    "lower heartbeat_timeout of the sink below it",
    "total_timeout": "switch the limit of a response's age off for this path; with replay: true "
    "on the sink, clients that come back miss nothing",
    "content_type": "leave the header Content-Type as the server sends it, and look whether the "
    "URL leads to the sink",
    "status": "look into the log of the server, and of what stands before it",
    "redirect": "give clients the URL at the end of the redirects, and take the redirect away",
    "cors": "let one place alone write the CORS headers: the sink's cors_origins",
    "http1_limit": "let the proxy speak HTTP/2 over TLS to browsers",
    "http10": "let the proxy speak HTTP/1.1 to the server, with kept-open connections",
    "caching": "take this path out of the cache, and leave Cache-Control as the server sends it",
    "last_event_id_lost": "pass the header Last-Event-ID on; or write the id into the query: "
    "?last_event_id=",
    "auth": "name a token that may read this sink: --token, or SSE_SINK_TOKEN",
}


def finding(
    code: str, seen: str, cause: str, way: Sequence[Intermediary] = (), cure: str = ""
) -> Finding:
    """Return a finding with the cure for what stands on the way, if that is known.

    ``cure``, if given, is said in place of the general one, before what is known of the way.
    """
    setting = setting_for(code, way)
    if cure:
        return Finding(code, seen, cause, f"{cure}; {setting}" if setting else cure)
    if setting:
        return Finding(code, seen, cause, setting)
    is_of_proxies = code not in ("auth", "status", "content_type", "redirect")
    general = CURES[code]
    return Finding(code, seen, cause, f"{general} ({_MORE})" if is_of_proxies else general)
