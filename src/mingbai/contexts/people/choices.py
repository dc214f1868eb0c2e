"""Roles, scopes, actions and kinds of unit. Values are stored and never change their meaning."""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator", _("Administrator")
    RULE_AUTHOR = "rule_author", _("Rule author")
    RULE_APPROVER = "rule_approver", _("Rule approver")
    REVIEWER = "reviewer", _("Reviewer")
    TEAM_LEAD = "team_lead", _("Team lead")
    BRANCH_MANAGER = "branch_manager", _("Branch manager")
    AUDITOR = "auditor", _("Auditor")
    REGULATOR = "regulator", _("Regulator")
    SERVICE_PROVIDER = "service_provider", _("Service provider")
    SUBSCRIBER = "subscriber", _("Subscriber")


class UnitKind(models.TextChoices):
    PROVINCE = "province", _("Province")
    BRANCH = "branch", _("Branch")
    PARTNER = "partner", _("Partner")


class Language(models.TextChoices):
    CHINESE = "zh-hans", "简体中文"
    ENGLISH = "en", "English"


class RequestKind(models.TextChoices):
    """What a subscriber may ask of whoever holds data about them (China: PIPL, articles 44 to 47)."""

    ACCESS = "access", _("Access")
    EXPORT = "export", _("Export")
    ERASURE = "erasure", _("Erasure")


class RequestState(models.TextChoices):
    OPEN = "open", _("Open")
    READY = "ready", _("Ready")
    REFUSED = "refused", _("Refused")
    DONE = "done", _("Done")


class DeliveryState(models.TextChoices):
    DUE = "due", _("Due")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Failed")


class Scope(StrEnum):
    """How far a right reaches: everything; a province or branch; one partner; what concerns oneself."""

    ALL = "all"
    BRANCH = "branch"
    PARTNER = "partner"
    OWN = "own"
