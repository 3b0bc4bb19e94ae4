"""Durable renders: what was accepted is finished, whatever dies."""
