"""Dovecot: its templates, doveadm, its log of logins, its mail folders."""
