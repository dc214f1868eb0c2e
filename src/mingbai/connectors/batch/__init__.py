"""Batch screening: files -> engine -> ledger and output, on threads, in constant memory.

    run.screen_tables      a whole run over table files
    engine.screen_stream   its middle, for callers that bring their own batches; engine.decide, one batch
    record.Recorder        decisions into the ledger
    tally.Tally            what a run counted

Import the module that you need: `record` loads the ledger, which a run without a record does not use.
"""
