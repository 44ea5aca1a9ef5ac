#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Calls each method of greeter-server.py: greeter-client.py unix:PATH"""

import sys
import time

import grpc
from google.protobuf import wrappers_pb2 as messages

CALLS = 200
LIMIT = 120  # seconds for a call


def serialize(message):
    return message.SerializeToString()


def main():
    with grpc.insecure_channel(sys.argv[1]) as channel:
        hello = channel.unary_unary('/demo.Greeter/Hello', serialize, messages.StringValue.FromString)
        count = channel.unary_stream('/demo.Greeter/Count', serialize, messages.Int32Value.FromString)
        double = channel.stream_stream('/demo.Greeter/Double', serialize, messages.Int32Value.FromString)
        fail = channel.unary_unary('/demo.Greeter/Fail', serialize, messages.StringValue.FromString)

        name = messages.StringValue(value='host')
        print('unary:', hello(name, timeout=LIMIT, wait_for_ready=True).value)

        begin = time.monotonic()
        for _ in range(CALLS):
            hello(name, timeout=LIMIT)
        print(f'{CALLS} calls, one after the other: {(time.monotonic() - begin) / CALLS * 1e6:.0f} us each')

        numbers = [reply.value for reply in count(messages.Int32Value(value=100), timeout=LIMIT)]
        print(f'stream of the server: {len(numbers)} replies, the last one is {numbers[-1]}')

        replies = count(messages.Int32Value(value=1_000_000), timeout=LIMIT)
        first = [next(replies).value for _ in range(3)]
        replies.cancel()
        print('stream that was cancelled:', first)

        requests = (messages.Int32Value(value=i) for i in range(1000))
        print('streams in both directions, sum:', sum(reply.value for reply in double(requests, timeout=LIMIT)))

        try:
            fail(name, timeout=LIMIT)
        except grpc.RpcError as error:
            print(f'error: {error.code().name}, {error.details()}')


if __name__ == '__main__':
    main()
