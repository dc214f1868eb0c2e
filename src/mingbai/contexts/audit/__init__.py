"""The control stream of the ledger: everything that a person or a job changed or looked at, in one hash chain."""
