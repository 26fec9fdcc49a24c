"""The JSON Schema of CloudEvents. Rule: CloudEvents 1.0.2, 3, and JSON event format."""

from __future__ import annotations

from typing import Any

from ..submission import NAME_LENGTH

_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}

#: The JSON Schema of a CloudEvent in structured mode.
CLOUD_EVENT: dict[str, Any] = {
    "title": "CloudEvent",
    "description": "A CloudEvent 1.0. What isn't named here is an extension.",
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "not": {"required": ["data", "data_base64"]},
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**_NAME, "description": "our `event_id`"},
        "source": {**_NAME, "format": "uri-reference", "description": "our `source`"},
        "type": {**_NAME, "description": "our `event_type`: names that are separated by dots"},
        "subject": {"type": ["string", "null"], "description": "our `entity_id`"},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "datacontenttype": {"type": ["string", "null"]},
        "dataschema": {"type": ["string", "null"], "format": "uri"},
        "data": {"description": "any JSON"},
        "data_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
    },
    "propertyNames": {"pattern": "^([a-z0-9]+|data_base64)$"},
    "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
}

#: A CloudEvent.
EXAMPLE = {
    "specversion": "1.0",
    "id": "evt_abc",
    "source": "/shop",
    "type": "order.created",
    "subject": "order_7",
    "time": "2026-11-25T10:00:00Z",
    "data": {"total": 12.5},
}
