"""The two ends that a gateway stands between, for tests and rehearsals: an SMSC, and a service provider.

They speak the four protocols over real sockets, misbehave on demand, and write down what arrived.
"""
