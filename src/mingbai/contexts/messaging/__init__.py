"""Messaging: people at work on decisions about messages; rules, models, exceptions, the review desk."""
