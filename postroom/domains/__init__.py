"""Domains: claims, DNS records and their checks, DKIM keys, settings for mail clients."""
