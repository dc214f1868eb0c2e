"""Tables of people and rights. Only `services` writes them."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from mingbai.contexts.people.choices import DeliveryState, Language, RequestKind, RequestState, Role, UnitKind
from mingbai.kernel.clock import utc_now
from mingbai.kernel.ids import IdSource


def new_id() -> UUID:
    """A UUIDv7: rows sort by when they were made."""
    return IdSource().new(utc_now())


class Unit(models.Model):
    """A province, a branch or a partner: what a right can be limited to, and who answers for access codes."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    code = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=16, choices=UnitKind.choices)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    access_codes = models.JSONField(default=list, blank=True)  # prefixes, longest counts

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class AccountManager(BaseUserManager["Account"]):
    """What Django and allauth ask for; accounts are made in `services`."""

    def get_by_natural_key(self, username: str | None) -> Account:
        return self.get(username__iexact=username)


class Account(AbstractBaseUser):
    """Somebody who signs in. Rights come from assignments alone: there is no superuser."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    username = models.CharField(_("Username"), max_length=64, unique=True, validators=[UnicodeUsernameValidator()])
    name = models.CharField(_("Name"), max_length=120, blank=True)
    email = models.EmailField(_("E-mail"), blank=True)
    number = models.CharField(max_length=20, blank=True)  # E.164, of a subscriber: what "own" means
    language = models.CharField(max_length=10, choices=Language.choices, blank=True)
    skills = models.JSONField(default=list, blank=True)  # categories and languages that this person reviews
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=utc_now, editable=False)

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = AccountManager()

    class Meta:
        ordering = ("username",)
        constraints = (
            # Two accounts of one number would both read that subscriber's messages.
            models.UniqueConstraint(
                name="people_account_number_once", fields=("number",), condition=~models.Q(number="")
            ),
        )

    def __str__(self) -> str:
        return self.name or self.username

    @property
    def ref(self) -> str:
        """How entries name this account."""
        return f"account:{self.id}"

    def get_full_name(self) -> str:
        return str(self)

    def get_short_name(self) -> str:
        return self.username


class Team(models.Model):
    """A group of accounts: its assignments are its members'."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    code = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    members = models.ManyToManyField(Account, related_name="teams", blank=True)

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class Assignment(models.Model):
    """One role, given to an account or a team, for the whole operator or one unit."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="assignments")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="assignments")
    role = models.CharField(max_length=32, choices=Role.choices)
    unit = models.ForeignKey(Unit, null=True, blank=True, on_delete=models.CASCADE, related_name="assignments")

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="people_assignment_one_holder",
                condition=models.Q(account__isnull=False, team__isnull=True)
                | models.Q(account__isnull=True, team__isnull=False),
            ),
            *(
                models.UniqueConstraint(
                    name=f"people_assignment_{holder}_{'unit' if has_unit else 'all'}",
                    fields=(holder, "role", "unit") if has_unit else (holder, "role"),
                    condition=models.Q(**{f"{holder}__isnull": False, "unit__isnull": not has_unit}),
                )
                for holder in ("account", "team")
                for has_unit in (True, False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} ({self.unit or 'all'})"


class Invitation(models.Model):
    """A one-time link with which somebody sets their first password (or a new one). Only its hash is kept."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    token_hash = models.BinaryField(max_length=32, unique=True)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="invitations")
    created_at = models.DateTimeField(default=utc_now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"invitation of {self.account_id}"


class Token(models.Model):
    """A key for programs: acts as its account, within its scopes, until it expires. Only its hash is kept."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12)  # shown, so that a person can tell tokens apart
    token_hash = models.BinaryField(max_length=32, unique=True)
    scopes = models.JSONField(default=list)  # values of policy.Action
    rate_per_minute = models.PositiveIntegerField(default=600)
    created_at = models.DateTimeField(default=utc_now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def ref(self) -> str:
        return f"token:{self.id}"


class IdempotencyKey(models.Model):
    """The answer that a request with this key got, so that its repetition gets the same."""

    id = models.BigAutoField(primary_key=True)
    holder = models.CharField(max_length=80)  # account:… or token:…
    key = models.CharField(max_length=128)
    request_hash = models.BinaryField(max_length=32)  # method, path and body
    status = models.PositiveSmallIntegerField(null=True)  # null: still at work
    response = models.BinaryField(default=b"")
    content_type = models.CharField(max_length=80, default="application/json")
    created_at = models.DateTimeField(default=utc_now, db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(name="people_idempotency_once", fields=("holder", "key")),)

    def __str__(self) -> str:
        return self.key


class Webhook(models.Model):
    """An address that is told of events, signed with its secret."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=80, unique=True)
    url = models.URLField(max_length=500)
    secret = models.BinaryField()  # encrypted under the ledger's key ring
    kinds = models.JSONField(default=list)  # kinds of entry, or prefixes that end with a dot
    is_active = models.BooleanField(default=True)
    follows_from = models.BigIntegerField(default=0)  # seq of the last control entry that was turned into deliveries
    created_at = models.DateTimeField(default=utc_now)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Delivery(models.Model):
    """One event on its way to one webhook."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    entry_seq = models.BigIntegerField()
    body = models.TextField()
    state = models.CharField(max_length=16, choices=DeliveryState.choices, default=DeliveryState.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=utc_now)
    last_status = models.CharField(max_length=120, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(name="people_delivery_once", fields=("webhook", "entry_seq")),)
        indexes = (models.Index(fields=("state", "next_at")),)

    def __str__(self) -> str:
        return f"{self.webhook_id} {self.entry_seq}"


class DataRequest(models.Model):
    """A subscriber's request about data that is held about them, with the day by which it must be answered."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="data_requests")
    kind = models.CharField(max_length=16, choices=RequestKind.choices)
    state = models.CharField(max_length=16, choices=RequestState.choices, default=RequestState.OPEN)
    note = models.TextField(blank=True)  # what the subscriber wrote
    answer = models.TextField(blank=True)
    created_at = models.DateTimeField(default=utc_now)
    due_at = models.DateTimeField()
    reminded_at = models.DateTimeField(null=True, blank=True)  # soon due, and nobody had answered
    overdue_at = models.DateTimeField(null=True, blank=True)  # when it was found overdue
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.ForeignKey(Account, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    result = models.BinaryField(null=True, blank=True)  # a ZIP, for the subscriber to fetch, until it expires
    result_expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("due_at",)

    def __str__(self) -> str:
        return f"{self.kind} of {self.account_id}"
