"""nchan: a publish/subscribe module for nginx, written in C."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
from pathlib import Path

from ..processes import Processes, free_port
from ..system import Server, Setting, System

_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_CONFIG = """\
load_module {module};
{user}
worker_processes {workers};
worker_rlimit_nofile {files};
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        # Few messages are kept, for a short time: a stream begins with the next event.
        nchan_message_buffer_length 100;
        nchan_message_timeout 5s;
        location = /publish {{
            nchan_publisher;
            nchan_channel_id bench;
        }}
        location = /events {{
            nchan_subscriber eventsource;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval 30;
            nchan_channel_id bench;
        }}
    }}
}}
"""


class Nchan(System):
    """Debian's nginx with its nchan module."""

    name = "nchan"
    about = "nginx with nchan (C), one worker a core as shipped; messages in memory"

    def missing(self) -> str | None:
        if not shutil.which("nginx", path=_path()) or not _MODULE.exists():
            return "nginx or its module not installed: apt-get install nginx libnginx-mod-nchan"
        return None

    def start(self, setting: Setting, stack: contextlib.ExitStack) -> Server:
        port = free_port()
        workers = setting.workers or os.cpu_count() or 1
        config = setting.folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                module=_MODULE,
                # As root, nginx would run its workers as a user who can't enter the folder.
                user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
                workers=workers,
                files=2 * setting.clients + 1024,
                connections=setting.clients + 512,
                folder=setting.folder,
                port=port,
            )
        )
        nginx = shutil.which("nginx", path=_path()) or "nginx"
        command = [nginx, "-c", str(config), "-p", str(setting.folder), "-e", "stderr"]
        node = stack.enter_context(Processes(command, setting.folder, port))
        return Server(nodes=[node], workers=workers)


def _path() -> str:
    """Return the path that programs are looked for in, with the system's own folders."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
