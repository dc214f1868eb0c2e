"""The data plane: what decides traffic while it flows. It never waits for people, needs no database, and goes on when
the control plane is down; the two meet in the ledger and in the policy store.

    screener   the process that loads the engine, holds the counters and writes the ledger stream `api`
    pipeline   its middle: messages -> decisions -> ledger -> answers, in batches
    shadow     a second model that sees the same messages and decides nothing
    questions  what people ask about a message or a rulebook
    meter      speed, latency and alarms, for the status
"""
