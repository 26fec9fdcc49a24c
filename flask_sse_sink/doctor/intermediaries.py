"""What stands between: how it is recognised by its headers, its limits, and its settings.

The limits are the defaults that the makers document; whoever runs it may have set others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .report import Limit


class Intermediary(NamedTuple):
    """A kind of proxy. ``signs`` are its headers: names and regular expressions for values.

    ``settings`` says for codes of findings what to set, and to which value.
    """

    name: str
    signs: Sequence[tuple[str, str]]
    limits: Sequence[Limit] = ()
    settings: Mapping[str, str] = {}


_LONGER = "above heartbeat_timeout"

INTERMEDIARIES = (
    Intermediary(
        "nginx",
        [("server", "nginx|openresty|tengine")],
        [Limit("nginx", "idle", 60, "proxy_read_timeout")],
        {
            "buffering": "proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering;",
            "compression": "gzip off; (brotli off;) in the location, or no text/event-stream in "
            "gzip_types",
            "idle_timeout": f"proxy_read_timeout 90s; or another value {_LONGER}",
            "total_timeout": "no setting of nginx ends a stream at an age; look at what stands "
            "before or behind it, and at `worker_shutdown_timeout` after reloads",
            "http10": 'proxy_http_version 1.1; and proxy_set_header Connection "";',
            "http1_limit": "listen 443 ssl http2; (from nginx 1.25.1 on: http2 on;)",
            "caching": "proxy_cache off; and no proxy_hide_header, expires or add_header that "
            "changes Cache-Control",
            "last_event_id_lost": "proxy_set_header Last-Event-ID $http_last_event_id; and "
            "proxy_pass_request_headers on;",
            "cors": "no add_header Access-Control-Allow-Origin, or "
            "proxy_hide_header Access-Control-Allow-Origin; beside it",
            "auth": "proxy_set_header Authorization $http_authorization;",
            "redirect": "no return 301 or rewrite for this location, and the same trailing slash "
            "in location and proxy_pass",
            "content_type": "no default_type, add_header Content-Type or proxy_hide_header "
            "Content-Type for this location",
            "status": "look into nginx's error.log, and at proxy_pass",
        },
    ),
    Intermediary(
        "Apache",
        [("server", r"apache")],
        [Limit("Apache", "idle", 60, "ProxyTimeout, else Timeout")],
        {
            "buffering": "flushpackets=on on ProxyPass",
            "compression": "SetEnvIf Request_URI ^/events_stream no-gzip",
            "idle_timeout": f"ProxyPass … timeout=90, or another value {_LONGER}",
            "http10": "no SetEnv force-proxy-request-1.0 and no SetEnv proxy-nokeepalive",
            "http1_limit": "Protocols h2 http/1.1, with mod_http2",
            "caching": "CacheDisable on; no Header or ExpiresByType that changes Cache-Control",
            "last_event_id_lost": "no RequestHeader unset Last-Event-ID",
            "cors": "no Header add Access-Control-Allow-Origin beside the server's",
            "auth": "no RequestHeader unset Authorization; with mod_wsgi WSGIPassAuthorization On",
            "redirect": "no Redirect or RewriteRule for this path",
            "status": "look into Apache's error_log, and at ProxyPass",
        },
    ),
    Intermediary(
        "Cloudflare",
        [("server", "cloudflare"), ("cf-ray", "")],
        [Limit("Cloudflare", "idle", 120, "Proxy Read Timeout; only Enterprise can raise it")],
        {
            "buffering": "Response Buffering: off, and no Worker that reads the whole body",
            "compression": "a Compression Rule for this path: disable compression",
            "idle_timeout": "heartbeat_timeout: 30s here; Cloudflare's limit is fixed",
            "caching": "a Cache Rule for this path: bypass cache",
            "http1_limit": "Speed, Settings, Protocol: HTTP/2 on",
            "redirect": "no Redirect Rule for this path; SSL/TLS mode Full (strict)",
            "status": "520 to 527 say what is wrong with the server behind Cloudflare",
        },
    ),
    Intermediary(
        "Heroku's router",
        [("via", "vegur|heroku"), ("server", "heroku")],
        [Limit("Heroku", "idle", 55, "fixed; the first byte must come within 30 s")],
        {"idle_timeout": "heartbeat_timeout: 30s here; Heroku's limit is fixed"},
    ),
    Intermediary(
        "an AWS Application Load Balancer",
        [("server", "awselb"), ("set-cookie", r"awsalb(tg|app|cors)?[-=]|awsalb")],
        [Limit("AWS ALB", "idle", 60, "idle_timeout.timeout_seconds")],
        {
            "idle_timeout": "the attribute idle_timeout.timeout_seconds: 90, or another value "
            + _LONGER,
            "http1_limit": "the attribute routing.http2.enabled: true, with an HTTPS listener",
            "status": "502 and 504: look at the health of the target group",
        },
    ),
    Intermediary(
        "Amazon CloudFront",
        [("via", "cloudfront"), ("x-amz-cf-id", "")],
        [Limit("Amazon CloudFront", "idle", 30, "Response timeout (origin read timeout)")],
        {
            "idle_timeout": "the origin's Response timeout: 60, and heartbeat_timeout: 15s here",
            "compression": "Compress objects automatically: No",
            "caching": "the cache policy CachingDisabled",
            "last_event_id_lost": "the origin request policy AllViewer",
            "auth": "the origin request policy AllViewer",
            "cors": "no response headers policy with CORS beside the server's headers",
        },
    ),
    Intermediary(
        "Amazon API Gateway",
        [("apigw-requestid", ""), ("x-amz-apigw-id", "")],
        [Limit("Amazon API Gateway", "total", 30, "fixed for HTTP APIs; 29 s for REST APIs")],
        {
            "buffering": "it holds whole answers: put an ALB or CloudFront in its place",
            "total_timeout": "no setting; put an ALB or CloudFront in its place",
        },
    ),
    Intermediary(
        "Google's load balancer",
        [("via", r"1\.1 google")],
        [Limit("Google load balancer", "total", 30, "the backend service's timeoutSec")],
        {"total_timeout": "the backend service's timeoutSec: 86400"},
    ),
    Intermediary(
        "Envoy",
        [("server", "envoy"), ("x-envoy-upstream-service-time", "")],
        [
            Limit("Envoy", "total", 15, "the route's timeout; Istio switches it off"),
            Limit("Envoy", "idle", 300, "stream_idle_timeout, the route's idle_timeout"),
        ],
        {
            "total_timeout": "timeout: 0s on the route",
            "idle_timeout": f"idle_timeout on the route {_LONGER}, or 0s",
            "buffering": "no buffer filter on the route",
            "compression": "the compressor filter disabled on the route",
        },
    ),
    Intermediary(
        "IIS",
        [("server", "microsoft-iis"), ("x-powered-by", "arr/|asp")],
        [Limit("IIS with ARR", "idle", 120, "proxy timeout of Application Request Routing")],
        {
            "buffering": 'system.webServer/proxy: responseBufferLimit="0"',
            "compression": 'urlCompression doDynamicCompression="false" for this path',
            "idle_timeout": 'system.webServer/proxy: timeout="00:05:00", or another value '
            + _LONGER,
            "caching": 'system.webServer/caching: enabled="false", and ARR\'s disk cache off',
            "http1_limit": "HTTPS on Windows Server 2016 or newer",
        },
    ),
    Intermediary(
        "Traefik",
        [("server", "traefik"), ("x-traefik-router", "")],
        [],
        {
            "buffering": "no buffering middleware on the router",
            "compression": "compress.excludedContentTypes: [text/event-stream]",
            "total_timeout": "respondingTimeouts.writeTimeout: 0 on the entry point",
            "redirect": "no redirectScheme or redirectRegex middleware for this path",
        },
    ),
    Intermediary(
        "Caddy",
        [("server", "caddy"), ("via", "caddy")],
        [],
        {
            "buffering": "reverse_proxy { flush_interval -1 }",
            "compression": "no encode for this path: encode @not_streams gzip",
            "total_timeout": "servers { timeouts { write 0 } }",
        },
    ),
    Intermediary(
        "Varnish or Fastly",
        [("x-varnish", ""), ("via", "varnish"), ("x-served-by", "^cache-")],
        [Limit("Varnish", "idle", 60, "between_bytes_timeout; 10 s on Fastly")],
        {
            "buffering": "set beresp.do_stream = true; and return (pipe) for this path",
            "caching": "return (pass) in vcl_recv for this path",
            "idle_timeout": f"between_bytes_timeout {_LONGER}",
        },
    ),
    Intermediary(
        "Azure Front Door or App Service",
        [("x-azure-ref", ""), ("set-cookie", "arraffinity")],
        [Limit("Azure App Service", "idle", 230, "fixed")],
        {"idle_timeout": "heartbeat_timeout: 30s here; Azure's limit is fixed"},
    ),
)


def recognised(headers: Iterable[tuple[str, str]]) -> list[Intermediary]:
    """Return what an answer's headers show of the way it came."""
    pairs = list(headers)
    return [
        each
        for each in INTERMEDIARIES
        if any(
            name == own and re.search(pattern, value, re.IGNORECASE)
            for name, pattern in each.signs
            for own, value in pairs
        )
    ]


def setting_for(code: str, way: Sequence[Intermediary]) -> str:
    """Return what to set where for a finding, "" where nothing is known."""
    known = [f"{each.name}: {each.settings[code]}" for each in way if code in each.settings]
    return "; ".join(known)
