"""Plumbing that every service shares: errors, servers, channels, settings, logs."""
