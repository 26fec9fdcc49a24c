"""The files to deploy with, checked by the tools that read them."""
