"""People: accounts, roles and scopes, organisational units, tokens, webhooks, requests about personal data."""
