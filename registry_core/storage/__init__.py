"""Bytes under opaque keys (design §2.2). The rest of the program imports `driver` and `paths`."""
