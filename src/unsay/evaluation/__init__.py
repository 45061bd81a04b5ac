"""Protocols and metrics that judge the running half."""
