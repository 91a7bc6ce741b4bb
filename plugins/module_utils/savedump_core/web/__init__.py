# SPDX-License-Identifier: Apache-2.0
"""Files by build ID from debuginfod servers, only when asked for. The one room that opens connections.

``url`` says what may be asked, ``wire`` asks within limits, ``cache`` is the folder shared with elfutils' own clients,
``debuginfod`` joins the three. Nothing here is imported before somebody names a server: http.client and ssl cost a
quarter of savedump's start.
"""
