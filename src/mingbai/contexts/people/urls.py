"""Addresses of the people context."""

from __future__ import annotations

from django.urls import path

from mingbai.contexts.people import views

urlpatterns = [
    path("welcome/<str:secret>/", views.welcome, name="welcome"),
]
