# SPDX-License-Identifier: Apache-2.0
"""Distribution packages: single files out of .deb, .rpm, .apk and pacman's packages (`contents`, `unpacked`), which
package a path belongs to (`owners`), and which version it had before (`history`). Nothing here needs the
distribution's tools, save for rpm's database; nothing is installed, and nothing a package says is believed.
"""
