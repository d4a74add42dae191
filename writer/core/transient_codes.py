"""Codes of the CRM after which the same request may succeed later: `replies.BY_CODE` makes them transient. No I/O.

Taken from Microsoft's published list of Dataverse error codes: what it says, or names, as "try again", temporary, busy,
locked, timed out over there, in progress, being moved or upgraded. A code stays out if

- a writer of rows cannot meet it: reports, mail, offline clients, files, search, imports of one's own;
- only a person ends it: a full storage, a plug-in or a feature that is switched off;
- it has a meaning of its own in `replies.BY_CODE`, which goes first.

What stays out is unknown there, so it is suspect: tried again as well, but with a ceiling.
"""

from __future__ import annotations

_DATABASE = frozenset(
    {
        0x80044150,  # generic SQL error, deadlocks included
        0x80040255,  # transaction aborted
        0x80044339,  # a lock on a resource could not be obtained
        0x8004ED47,  # an application lock was not obtained in time
        0x8004026C,  # a request's lock was not obtained in time
        0x80048411,  # a plug-in's SQL lock was not obtained
        0x80042300,  # the connection was perhaps never opened
        0x80048542,  # a row's earlier version is gone, since temporary space ran out
        0x80048551,  # connection or transaction could not be set up
        0x80048554,  # blocked by the service's own work until it timed out
        0x80048559,  # no connection is opened after many that failed
        0x80048560,  # a transaction was idle and was closed
        0x80048561,  # a transaction could not be started
        0x80048562,  # the transaction was gone already, for example after a plug-in ran too long
        0x80073000,  # network trouble on the way to it
        0x80060885,  # the sequence of an auto-number column was missing and is made again
    }
)

_BUSY = frozenset(
    {
        0x8004A001,  # the database's governor refused
        0x80072323,  # resource limit of the database
        0x80072324,  # too many workers at once
        0x80048544,  # a query is throttled for a while
        0x80048644,  # the same: leading wildcard
        0x80048744,  # the same: computed column
        0x80048745,  # the same: found slow
        0x80050544,  # the same: few at a time
        0x80072330,  # too many caches are loaded at once
        0x80048D3D,  # a cache is loaded by somebody else for too long
        0x80098019,  # the organization's cache was just flushed
        0x80097622,  # the server that was reached does not support the call: another may
        0x8005F104,  # network, gateway or server trouble
        0x80072300,  # a service behind it does not tell the user's licence
        0x80072301,  # a service behind it does not tell about the organization
        0x80154B53,  # not possible at the moment
    }
)

_MAINTENANCE = frozenset(
    {
        0x80048543,  # a solution is being imported
        0x80048553,  # the database is being upgraded
        0x80048563,  # tables are being changed
        0x80071151,  # another solution is being installed or removed
        0x80071154,  # another operation runs
        0x8004F061,  # another customization runs: five codes, by which of the two is known
        0x8004F062,
        0x8004F063,
        0x8004F064,
        0x8004F067,
        0x80090412,  # a table is being customized
        0x80090446,  # cascades are being generated
        0x80090447,  # cascades wait for a change of metadata
        0x8004419D,  # metadata of a column changed under a bulk operation
        0x8004B044,  # the organization is being moved
        0x8004B065,  # the data centre does not serve the organization now
        0x8004A107,  # its group of servers is disabled
        0x8004A113,  # administration mode: only administrators get in
    }
)

_ROW_IN_USE = frozenset(
    {
        0x80048555,  # a background job assigns it
        0x80048549,  # a background job deletes it
        0x80048945,  # a background job merges it
        0x80048955,  # a background job restores it
        0x80048956,  # a background job gives it another parent
        0x80155559,  # a background job archives it
        0x8004810E,  # a cascading job may be repeated
        0x80048105,  # the same cascade was asked for twice at once
        0x80048116,  # the same sharing was asked for twice at once
    }
)

_EXTENSIONS = frozenset(
    {
        0x80044171,  # a plug-in timed out: sandbox client
        0x80044172,  # the same: sandbox host
        0x80044173,  # the same: sandbox worker
        0x80044174,  # the sandbox client could not be started
        0x8004418D,  # the sandbox worker crashed, perhaps under another's plug-in
        0x8004418E,  # no sandbox host is available
        0x8004419E,  # the sandbox cancelled the request
        0x80081116,  # sandbox workers are being replaced after too many crashes
        0x80048D03,  # a plug-in aborted as "service unavailable"
        0x80048D04,  # a plug-in aborted as "too many requests"
        0x80048D07,  # a plug-in aborted as "request timeout"
        0x80048D0F,  # a plug-in aborted as "bad gateway"
        0x80048D10,  # a plug-in aborted as "gateway timeout"
        0x80050202,  # a webhook did not answer in time
    }
)

TROUBLE_CODES = _DATABASE | _BUSY | _MAINTENANCE | _ROW_IN_USE | _EXTENSIONS
"""Send the same request again."""

TOO_SLOW_CODES = frozenset(
    {
        0x80044151,  # SQL timeout
        0x80048573,  # the same: leading wildcard
        0x80048574,  # the same: computed column
        0x80048575,  # the same: a query found slow
        0x80081111,  # a plug-in ran for more than two minutes
    }
)
"""A time limit over there: send it again with fewer others."""
