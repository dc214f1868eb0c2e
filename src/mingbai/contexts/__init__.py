"""The control plane: people and their work, as Django apps. A context owns its tables; others call its services."""
