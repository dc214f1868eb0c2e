"""Pages about messages, one module an area; each lists its own addresses as `urlpatterns`."""
