"""Protobuf messages <-> the gateway's plain values, by subject."""
