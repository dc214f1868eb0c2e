"""Ground floor: the value types every other room speaks. Standard library only; nothing here does I/O."""
