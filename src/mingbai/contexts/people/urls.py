"""Addresses of the people context."""

from __future__ import annotations

from mingbai.contexts.people.views import account, audit, data_requests, groups, me, people, system, welcome

urlpatterns = [
    *welcome.urlpatterns,
    *me.urlpatterns,
    *data_requests.urlpatterns,
    *groups.urlpatterns,
    *people.urlpatterns,
    *account.urlpatterns,
    *audit.urlpatterns,
    *system.urlpatterns,
]
