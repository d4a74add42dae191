"""The membership of aiokafka's consumer, in the form in which librdkafka's producer sends it: `core/fence` says why.

confluent-kafka gives away only its own consumer's membership; the planner's consumer is aiokafka's. So this calls the
function of librdkafka that was made for the purpose. docs/decisions/0015 names the other options.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from confluent_kafka import cimpl

from planner.core.fence import Membership


def packed(membership: Membership) -> bytes:
    """As `Producer.send_offsets_to_transaction` takes it."""
    library = _librdkafka()
    made = library.rd_kafka_consumer_group_metadata_new_with_genid(
        membership.group_id.encode(),
        membership.generation,
        membership.member_id.encode(),
        membership.instance_id.encode() if membership.instance_id else None,
    )
    place, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.rd_kafka_consumer_group_metadata_write(made, ctypes.byref(place), ctypes.byref(size))
    try:
        return ctypes.string_at(place, size.value)
    finally:
        library.rd_kafka_mem_free(None, place)
        library.rd_kafka_consumer_group_metadata_destroy(made)


@functools.cache
def _librdkafka() -> Any:
    library = ctypes.CDLL(cimpl.__file__)  # a look-up in the extension module goes on in librdkafka, wherever it is
    new = library.rd_kafka_consumer_group_metadata_new_with_genid
    new.restype = ctypes.c_void_p
    new.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p]
    write = library.rd_kafka_consumer_group_metadata_write
    write.restype = ctypes.c_void_p
    write.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)]
    library.rd_kafka_consumer_group_metadata_destroy.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mem_free.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return library
