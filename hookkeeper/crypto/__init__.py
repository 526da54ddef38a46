"""Keys and encryption: the key ring, the payload codec, signing keys, tokens."""
