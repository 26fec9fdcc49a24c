"""Descriptions of the endpoints, and the OpenAPI and AsyncAPI documents made of them. Pure."""
