"""django-eventstream, as its README sets it up; settings, URLs and ASGI app in one file."""

from __future__ import annotations

import json

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django_eventstream"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret: this app is only measured",
    USE_TZ=True,
)
django.setup()

from django_eventstream import send_event  # noqa: E402


def publish(request: HttpRequest) -> HttpResponse:
    send_event("bench", "message", json.loads(request.body))
    return HttpResponse(status=204)


urlpatterns = [
    path("events/", include("django_eventstream.urls"), {"channels": ["bench"]}),
    path("publish", publish),
]
app = get_asgi_application()
