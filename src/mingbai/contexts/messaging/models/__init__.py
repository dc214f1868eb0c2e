"""Tables of messaging, one module a subject. Only `services` writes them."""
