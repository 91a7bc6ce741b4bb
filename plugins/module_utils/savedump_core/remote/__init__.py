# SPDX-License-Identifier: Apache-2.0
"""Collecting over ssh without Ansible: the only room that uses paramiko, on the control side only.

settings (what ~/.ssh/config says of a host) ─▶ ssh (a connection whose host key is checked: hostkeys, auth)
─▶ login (a Python there, as root if asked) ─▶ boot, session (the core sent along and asked) ─▶ collect (many hosts).
"""
