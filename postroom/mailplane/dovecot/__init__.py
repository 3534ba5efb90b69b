"""Dovecot: its templates, doveadm, the logins in its log, its mail folders."""
