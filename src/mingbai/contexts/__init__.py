"""The control plane: registries, people and work, as Django apps. A context owns its tables; others call its services."""
