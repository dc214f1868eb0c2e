"""The ledger made quick to read for people: overview, search, campaigns, one decision, and how long the disk lasts.

    index = LedgerIndex(data_dir, keys)
    while index.advance(now): ...                       # one process owns the index; nobody has to wait for it
    index.overview(since, until)                        # what happened, counted exactly
    index.search(Query(senders=pseudonyms_of(keys, "13800000001")), limit=50)
    index.text_search(Query(since=since, until=until), ("中奖", "http"))

The index lies in `DATA/index/<stream>/` beside the ledger. It is made from the ledger alone and holds no number and no
text; deleting it loses nothing but time. Entries that it does not cover, or covers with a damaged or foreign file, are
read from the ledger, so an answer is never short of a durable entry.

    rows.py          entries as numbers          source.py        the ledger, commit by commit, with its chain
    block.py         a million of them, sorted   stream_index.py  which blocks count; the owner's work
    blockfile.py     the file of one             filters.py       a query upon a block
    counts.py        overview, campaign          search.py, texts.py   pages of hits
    originals.py     one message's text and numbers
"""

from mingbai.connectors.ledger_index.forecast import DiskForecast, disk_forecast
from mingbai.connectors.ledger_index.index import IndexBehind, LedgerIndex
from mingbai.connectors.ledger_index.query import (
    EVERYTHING,
    Bucket,
    CampaignCount,
    CampaignView,
    Decision,
    Found,
    Hit,
    Overview,
    Page,
    Query,
    Scope,
    TextPage,
    Variant,
    pseudonyms_of,
)

__all__ = [
    "EVERYTHING",
    "Bucket",
    "CampaignCount",
    "CampaignView",
    "Decision",
    "DiskForecast",
    "Found",
    "Hit",
    "IndexBehind",
    "LedgerIndex",
    "Overview",
    "Page",
    "Query",
    "Scope",
    "TextPage",
    "Variant",
    "disk_forecast",
    "pseudonyms_of",
]
