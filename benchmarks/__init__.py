"""Benchmarks: each prints the product beside a peer and a physical floor, in one run, contenders taking turns."""
