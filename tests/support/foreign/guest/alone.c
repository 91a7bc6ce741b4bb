// SPDX-License-Identifier: Apache-2.0
// A library with no needs of its own, for a link-map namespace of its own.
int alone(void) { return 17; }
