"""Pages about people: one module a page, each with its addresses."""
